"""The Markdown tables of a file of results.

`python demos/benchmark/report.py results.json` prints them again.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figures import FIGURE_OF_NAME, FIGURES, Figure, Spread

OURS = "server"
# Figures of the first round, which the medians leave out: they show a fresh server.
FIRST_ROUND_FIGURES = ("output_tokens_per_s", "ttft_p99_ms")
MISSING = "-"


def render_report(results: Mapping[str, Any]) -> str:
    """All tables."""
    parts = [_render_start(results["contenders"]), _render_summary(results)]
    parts += [_render_sweep(name, found) for name, found in results["sweeps"].items()]
    parts += [_render_workload(name, one) for name, one in results["workloads"].items()]
    if results["step_stats"]:
        parts.append(_render_step_stats(results["step_stats"]))
    return "\n\n".join(parts) + "\n"


def _render_start(contenders: Mapping[str, Any]) -> str:
    rows = [
        [name, f"{one['ready_s']:.1f}", f"{one['peak_rss_mb']:.0f}"]
        for name, one in contenders.items()
    ]
    return _render_table(["contender", "time to ready, s", "peak RSS, MB"], rows)


def _render_summary(results: Mapping[str, Any]) -> str:
    """The main figure of each workload: medians, and the ratio to every peer."""
    names = list(results["contenders"])
    peers = [name for name in names if name != OURS] if OURS in names else []
    header = ["workload", "figure", *names, *(f"{OURS} / {peer}" for peer in peers)]
    rows = []
    for name, workload in results["workloads"].items():
        figure = FIGURE_OF_NAME[workload["headline"]]
        cells = [_render_median(workload, one, figure) for one in names]
        cells += [_render_ratio(workload["ratios"].get(peer), figure) for peer in peers]
        rows.append([f"{name}: {workload['title']}", figure.title, *cells])
    return _render_table(header, rows)


def _render_sweep(name: str, found: Mapping[str, float]) -> str:
    cells = [f"{tokens_per_s:.1f}" for tokens_per_s in found.values()]
    return _render_table([f"{name}, W1", *found], [["output tok/s", *cells]])


def _render_workload(name: str, workload: Mapping[str, Any]) -> str:
    """Every figure of a workload."""
    contenders = workload["contenders"]
    ratios = workload["ratios"]
    header = ["", *contenders, *(f"{OURS} / {peer}" for peer in ratios)]
    rows = []
    for figure in FIGURES:
        cells = [
            _render_spread(one["summary"].get(figure.name), figure) for one in contenders.values()
        ]
        cells += [_render_ratio(ratio, figure) for ratio in ratios.values()]
        rows.append([figure.title, *cells])
    for figure_name in FIRST_ROUND_FIGURES:
        figure = FIGURE_OF_NAME[figure_name]
        cells = [_render_first(one["warm_up"], figure) for one in contenders.values()]
        rows.append([f"first round: {figure.title}", *cells, *("" for _ in ratios)])
    rate = workload["request_rate"]
    title = f"### {name}: {workload['title']}" + (f" ({rate:.2f} requests/s)" if rate else "")
    failures = [
        f"{one} failed: {measured['failure'].splitlines()[0]}"
        for one, measured in contenders.items()
        if measured["failure"]
    ]
    return "\n\n".join([title, _render_table(header, rows), *failures])


def _render_step_stats(stats: Mapping[str, float]) -> str:
    host_s = stats["step_s"] - stats["infer_s"]
    num_steps = max(1, stats["num_steps"])
    return (
        f"Server, whole run with warm-up: {stats['num_steps']} steps of "
        f"{stats['tokens'] / num_steps:.1f} tokens on average; not inference: "
        f"{100 * host_s / (stats['step_s'] or 1):.1f}% of step time, "
        f"{1000 * host_s / num_steps:.2f} ms per step."
    )


def _render_median(workload: Mapping[str, Any], name: str, figure: Figure) -> str:
    spread = workload["contenders"].get(name, {}).get("summary", {}).get(figure.name)
    return f"{spread['median']:.{figure.digits}f}" if spread else MISSING


def _render_spread(spread: Spread | None, figure: Figure) -> str:
    if spread is None:
        return MISSING
    median, low, high = (f"{spread[key]:.{figure.digits}f}" for key in ("median", "min", "max"))
    return f"{median} ({low} - {high})"


def _render_first(figures: Mapping[str, float] | None, figure: Figure) -> str:
    return f"{figures[figure.name]:.{figure.digits}f}" if figures else MISSING


def _render_ratio(ratio: Mapping[str, Spread] | None, figure: Figure) -> str:
    """The ratio of a figure, with a word where the server loses."""
    if not ratio or figure.name not in ratio:
        return MISSING
    spread = ratio[figure.name]
    is_worse = (spread["median"] < 1) == figure.is_better_high and spread["median"] != 1
    text = f"{spread['median']:.2f} ({spread['min']:.2f} - {spread['max']:.2f})"
    return f"{text} worse" if is_worse else text


def _render_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(map(_render_row, [header, ["---"] * len(header), *rows]))


def _render_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the tables of a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="a results.json of run.py")
    print(render_report(json.loads(parser.parse_args().results.read_text())), end="")


if __name__ == "__main__":
    main()
