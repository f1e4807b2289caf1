"""LoRA adapters of an image pipeline, as OVMS's flag --source_loras names them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from export_models.graph_text import EnumName

__all__ = ["LoraAdapter", "LoraMixture", "graph_options", "parse_loras"]

ALIAS = re.compile(r"[A-Za-z0-9._-]+")
# Where the source ends and its share begins. A URL and a Windows path have other colons.
ALPHA = re.compile(r":(?!//)([^:/\\@]*)$")
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
SUFFIX = ".safetensors"
FORMS = "alias=org/repo, alias=org/repo@file.safetensors, alias=https://... or alias=file"


@dataclass(frozen=True)
class LoraAdapter:
    """An adapter: `source` is a Hugging Face id, a URL or a file.

    `file` is the file of an id; None for the only one that is there. `alpha` is None for 1.
    """

    alias: str
    source: str
    file: str | None = None
    alpha: float | None = None

    @property
    def path(self) -> Path | None:
        """The file on this machine; None for one that is fetched."""
        path = Path(self.source).expanduser()
        return path if path.is_file() else None

    @property
    def is_url(self) -> bool:
        """Whether the source is the address of a file."""
        return self.source.startswith(("https://", "http://"))


@dataclass(frozen=True)
class LoraMixture:
    """Several adapters under one name: the alias of each, and its share; None is 1."""

    alias: str
    parts: Sequence[tuple[str, float | None]]


def parse_loras(text: str) -> tuple[Sequence[LoraAdapter], Sequence[LoraMixture]]:
    """Read the value of the flag. Raises ValueError."""
    adapters: list[LoraAdapter] = []
    mixtures: list[LoraMixture] = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        alias, equals, source = entry.partition("=")
        if not equals or not source:
            raise ValueError(f"{entry!r} has none of the forms {FORMS}")
        if not ALIAS.fullmatch(alias):
            raise ValueError(f"the alias {alias!r} may have letters, digits, '.', '_' and '-'")
        if source.startswith("@"):
            parts = [_mixture_part(part.strip()) for part in source.split("+")]
            mixtures.append(LoraMixture(alias, parts))
        else:
            adapters.append(_adapter(alias, source))
    if not adapters:
        raise ValueError(f"{text!r} names no adapter; possible: {FORMS}")
    _check_names(adapters, mixtures)
    return adapters, mixtures


def _adapter(alias: str, text: str) -> LoraAdapter:
    source, alpha = _split_alpha(text)
    if Path(source).expanduser().is_file():
        if not source.endswith(SUFFIX):
            raise ValueError(f"{source}: is no {SUFFIX} file")
        return LoraAdapter(alias, source, None, alpha)
    source, _, file = source.partition("@")
    adapter = LoraAdapter(alias, source, file or None, alpha)
    name = file or (source if adapter.is_url else SUFFIX)
    if not name.endswith(SUFFIX):
        raise ValueError(f"{name}: is no {SUFFIX} file")
    if not adapter.is_url and not HUB_ID.fullmatch(source):
        raise ValueError(f"{source!r} is no file here, and no Hugging Face id of the form org/repo")
    return adapter


def _mixture_part(text: str) -> tuple[str, float | None]:
    if not text.startswith("@"):
        raise ValueError(f"{text!r}: parts of a mixture have the form @alias or @alias:0.7")
    return _split_alpha(text.removeprefix("@"))


def _split_alpha(text: str) -> tuple[str, float | None]:
    match = ALPHA.search(text)
    if match is None:
        return text, None
    if not re.fullmatch(r"-?\d+(\.\d+)?", match[1], re.ASCII):
        raise ValueError(f"{text!r}: the share {match[1]!r} is not a number such as 0.7")
    return text[: match.start()], float(match[1])


def _check_names(adapters: Sequence[LoraAdapter], mixtures: Sequence[LoraMixture]) -> None:
    names = [*(item.alias for item in adapters), *(item.alias for item in mixtures)]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the alias {name!r} is given twice")
    known = [adapter.alias for adapter in adapters]
    for mixture in mixtures:
        for name, _ in mixture.parts:
            if name not in known:
                raise ValueError(
                    f"{mixture.alias}: there is no adapter {name!r}; possible: {', '.join(known)}"
                )


def graph_options(
    adapters: Sequence[LoraAdapter], mixtures: Sequence[LoraMixture], files: Mapping[str, str]
) -> dict[str, object]:
    """The options of ImageGenCalculator; `files` are the adapters' paths by alias."""
    return {
        "lora_adapters": [
            {
                "alias": adapter.alias,
                "path": files[adapter.alias],
                "alpha": adapter.alpha,
                "mode": EnumName("DYNAMIC"),
            }
            for adapter in adapters
        ],
        "composite_lora_adapters": [
            {
                "alias": mixture.alias,
                "components": [
                    {"adapter_alias": name, "alpha": alpha} for name, alpha in mixture.parts
                ],
            }
            for mixture in mixtures
        ],
    }
