"""Throughput against latency, and goodput against load, as PNG files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workloads import WORKLOADS

LATENCIES = (("ttft_p50_ms", "TTFT p50, ms"), ("tpot_p50_ms", "TPOT p50, ms"))
LOAD_SHARES = {
    workload.name: workload.load_share for workload in WORKLOADS if workload.load_share is not None
}


def write_plots(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the plots of a file of results; return their paths. Needs matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    paths = [_plot_latency(name, one, folder) for name, one in results["workloads"].items()]
    shown = [name for name in LOAD_SHARES if name in results["workloads"]]
    if len(shown) > 1:
        paths.append(_plot_goodput({name: results["workloads"][name] for name in shown}, folder))
    return paths


def _plot_latency(name: str, workload: Mapping[str, Any], folder: Path) -> Path:
    """A point for each round, and a larger one for the medians."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    figure.suptitle(f"{name}: {workload['title']}")
    for axes, (key, title) in zip(figure.subplots(1, len(LATENCIES)), LATENCIES, strict=True):
        for index, (contender, measured) in enumerate(workload["contenders"].items()):
            rounds = measured["rounds"]
            if not rounds:
                continue
            color = f"C{index}"
            points = [(one[key], one["output_tokens_per_s"]) for one in rounds]
            axes.scatter(*zip(*points, strict=True), s=16, alpha=0.5, color=color)
            medians = (measured["summary"][of]["median"] for of in (key, "output_tokens_per_s"))
            axes.scatter(*([value] for value in medians), s=90, color=color, label=contender)
        axes.set(xlabel=title, ylabel="output tok/s", xlim=(0, None), ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=120)
    return path


def _plot_goodput(workloads: Mapping[str, Mapping[str, Any]], folder: Path) -> Path:
    """A line for each contender over the shares of the capacity."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    contenders = next(iter(workloads.values()))["contenders"]
    for contender in contenders:
        points = [
            (LOAD_SHARES[name], summary["goodput_share"]["median"])
            for name, workload in workloads.items()
            if (summary := workload["contenders"][contender]["summary"])
        ]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=contender)
    axes.set(
        xlabel="arrivals, share of capacity", ylabel="requests within the limits", ylim=(0, 1.05)
    )
    axes.grid(alpha=0.3)
    axes.legend()
    path = folder / "W2.png"
    figure.savefig(path, dpi=120)
    return path
