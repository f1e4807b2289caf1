"""The metrics of several processes as one text in Prometheus's form."""

import re
from collections.abc import Mapping

__all__ = ["join_metrics"]

# vLLM's label for the engines of one server.
LABEL = "engine"
OWN_LABEL = re.compile(rf'([{{,]){LABEL}="[^"]*",?')


def join_metrics(texts: Mapping[str, bytes]) -> bytes:
    """Each family once, with the series of all processes; the label `engine` says whose each is.

    `texts` has what each process tells, by the value of the label.
    """
    heads: dict[str, list[str]] = {}
    series: dict[str, list[str]] = {}
    for engine, text in texts.items():
        family = ""
        for line in text.decode().splitlines():
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
                is_new = family not in heads
                heads.setdefault(family, [])
                series.setdefault(family, [])
            if line.startswith("#"):
                if is_new:
                    heads[family].append(line)
            elif line:
                series[family].append(_labelled(line, engine))
    lines = [line for family in heads for line in (*heads[family], *series[family])]
    return "".join(f"{line}\n" for line in lines).encode()


def _labelled(line: str, engine: str) -> str:
    name, brace, rest = line.partition("{")
    label = f'{LABEL}="{engine}"'
    if not brace:
        name, _, value = line.partition(" ")
        return f"{name}{{{label}}} {value}"
    if f'{LABEL}="' in rest:
        name, brace, rest = OWN_LABEL.sub(r"\1", line, count=1).partition("{")
    comma = "" if rest.startswith("}") else ","
    return f"{name}{{{label}{comma}{rest}"
