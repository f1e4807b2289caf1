"""From token times to the figures that are compared, and from those to a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from contender import RequestTiming


@dataclass(frozen=True)
class Figure:
    """A figure of the table. `digits` is how many decimals are worth printing."""

    name: str
    title: str
    digits: int


FIGURES = (
    Figure("output_tokens_per_s", "output tok/s", 1),
    Figure("ttft_p50_ms", "TTFT p50, ms", 0),
    Figure("ttft_p99_ms", "TTFT p99, ms", 0),
    Figure("tpot_p50_ms", "TPOT p50, ms", 1),
    Figure("tpot_p99_ms", "TPOT p99, ms", 1),
)

RoundFigures = Mapping[str, float]


def compute_figures(timings: Sequence[RequestTiming]) -> dict[str, float]:
    """Return the figures of one round.

    TTFT runs from the moment a request was due to its first text. TPOT is the time from its first
    to its last text over its number of tokens less one. Percentiles are over requests.
    """
    duration_s = max(timing.token_times_s[-1] for timing in timings)
    ttft_ms = [1000 * (timing.token_times_s[0] - timing.arrival_s) for timing in timings]
    tpot_ms = [
        1000 * (timing.token_times_s[-1] - timing.token_times_s[0]) / max(1, timing.num_tokens - 1)
        for timing in timings
    ]
    return {
        "output_tokens_per_s": sum(timing.num_tokens for timing in timings) / duration_s,
        "ttft_p50_ms": float(np.percentile(ttft_ms, 50)),
        "ttft_p99_ms": float(np.percentile(ttft_ms, 99)),
        "tpot_p50_ms": float(np.percentile(tpot_ms, 50)),
        "tpot_p99_ms": float(np.percentile(tpot_ms, 99)),
    }


def summarize(rounds: Sequence[RoundFigures]) -> dict[str, dict[str, float]]:
    """Return the median and the extremes of each figure over rounds."""
    return {
        name: {
            "median": median(figures[name] for figures in rounds),
            "min": min(figures[name] for figures in rounds),
            "max": max(figures[name] for figures in rounds),
        }
        for name in rounds[0]
    }


def compute_ratios(
    ours: Sequence[RoundFigures], theirs: Sequence[RoundFigures]
) -> dict[str, dict[str, float]]:
    """Summarize ours / theirs round by round, which takes out what the machine did meanwhile."""
    return summarize(
        [
            {name: our[name] / their[name] for name in our}
            for our, their in zip(ours, theirs, strict=True)
        ]
    )


def render_table(
    rounds: Mapping[str, Sequence[RoundFigures]],
    ratios: Mapping[str, Mapping[str, float]] | None,
) -> str:
    """Render a Markdown table: `median (min - max)` for each contender, then the ratio."""
    header = ["", *rounds, *(["ratio"] if ratios else [])]
    lines = [_render_row(header), _render_row(["---"] * len(header))]
    summaries = {name: summarize(figures) for name, figures in rounds.items()}
    for figure in FIGURES:
        cells = [_render_spread(summaries[name][figure.name], figure.digits) for name in rounds]
        if ratios:
            cells.append(_render_spread(ratios[figure.name], 2))
        lines.append(_render_row([figure.title, *cells]))
    return "\n".join(lines)


def _render_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _render_spread(spread: Mapping[str, float], digits: int) -> str:
    return (
        f"{spread['median']:.{digits}f} ({spread['min']:.{digits}f} - {spread['max']:.{digits}f})"
    )
