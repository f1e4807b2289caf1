"""From token times to the figures that are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from load_generator import RequestTiming


@dataclass(frozen=True)
class Figure:
    """A figure of the tables. `digits` is how many decimals are worth printing."""

    name: str
    title: str
    digits: int
    is_better_high: bool = False


FIGURES = (
    Figure("output_tokens_per_s", "output tok/s", 1, is_better_high=True),
    Figure("requests_per_s", "requests/s", 2, is_better_high=True),
    Figure("goodput_per_s", "goodput, requests/s", 2, is_better_high=True),
    Figure("goodput_share", "requests within the limits", 2, is_better_high=True),
    Figure("ttft_p50_ms", "TTFT p50, ms", 0),
    Figure("ttft_p99_ms", "TTFT p99, ms", 0),
    Figure("tpot_p50_ms", "TPOT p50, ms", 1),
    Figure("tpot_p99_ms", "TPOT p99, ms", 1),
    Figure("itl_p99_ms", "ITL p99, ms", 0),
)
FIGURE_OF_NAME = {figure.name: figure for figure in FIGURES}

RoundFigures = Mapping[str, float]
Spread = Mapping[str, float]


@dataclass(frozen=True)
class Limits:
    """The limits that a request must keep to count as goodput."""

    ttft_ms: float = 2000.0
    tpot_ms: float = 150.0


def compute_figures(timings: Sequence[RequestTiming], limits: Limits) -> dict[str, float]:
    """Return the figures of one round.

    TTFT runs from the moment a request was due to its first tokens. TPOT is the time from its first
    to its last tokens over their number less one; ITL is the time between two arrivals of tokens.
    Percentiles are over requests (ITL: over arrivals) that are not background.
    """
    duration_s = max(timing.token_times_s[-1] for timing in timings)
    measured = [timing for timing in timings if not timing.is_background]
    ttft_ms = np.array([1000 * (timing.token_times_s[0] - timing.due_s) for timing in measured])
    tpot_ms = np.array([_compute_tpot_ms(timing) for timing in measured])
    itl_ms = 1000 * np.concatenate([np.diff(timing.token_times_s) for timing in measured])
    num_good = int(np.sum((ttft_ms <= limits.ttft_ms) & (tpot_ms <= limits.tpot_ms)))
    return {
        "output_tokens_per_s": sum(timing.num_tokens for timing in timings) / duration_s,
        "requests_per_s": len(timings) / duration_s,
        "goodput_per_s": num_good / duration_s,
        "goodput_share": num_good / len(measured),
        "ttft_p50_ms": float(np.percentile(ttft_ms, 50)),
        "ttft_p99_ms": float(np.percentile(ttft_ms, 99)),
        "tpot_p50_ms": float(np.percentile(tpot_ms, 50)),
        "tpot_p99_ms": float(np.percentile(tpot_ms, 99)),
        "itl_p99_ms": float(np.percentile(itl_ms, 99)) if itl_ms.size else 0.0,
    }


def _compute_tpot_ms(timing: RequestTiming) -> float:
    first, *_, last = (timing.token_times_s[0], *timing.token_times_s)
    return 1000 * (last - first) / max(1, timing.num_tokens - 1)


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
    """Summarize ours / theirs round by round, which cancels other load of the machine.

    A figure that is 0 in one of their rounds has no ratio.
    """
    names = [name for name in ours[0] if all(their[name] for their in theirs)]
    return summarize(
        [
            {name: our[name] / their[name] for name in names}
            for our, their in zip(ours, theirs, strict=True)
        ]
    )
