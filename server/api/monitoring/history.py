"""The last hour of a model: one point every few seconds, kept as JSON text."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.host.metrics import EngineNumbers, EngineStats, Histogram
from server.protocol.json_text import json_bytes

__all__ = ["FIELDS", "INTERVAL_S", "ModelHistory"]

INTERVAL_S = 5.0
HOUR_S, MINUTE_S = 3600.0, 60.0

FIELDS = (
    "time",
    "requests_per_s",
    "running",
    "waiting",
    "prompt_tokens_per_s",
    "generated_tokens_per_s",
    "first_token_s",
    "inter_token_s",
    "kv_usage",
    "prefix_hit_rate",
)
"""What a point has, in this order; null for what did not happen, or what a model does not have."""

DIGITS = 5


@dataclass(frozen=True, slots=True)
class _Sample:
    """The totals of an engine at one moment; only numbers that do not change."""

    date_s: float
    made_s: float
    num_runs: int
    prompt_tokens: int = 0
    generated_tokens: int = 0
    looked_up_tokens: int = 0
    cached_tokens: int = 0
    first_token: Histogram | None = None
    inter_token: Histogram | None = None

    @classmethod
    def of(cls, date_s: float, num_runs: int, stats: EngineStats | None) -> "_Sample":
        made_s = time.monotonic()
        if stats is None:
            return cls(date_s, made_s, num_runs)
        return cls(
            date_s,
            made_s,
            num_runs,
            stats.prompt_tokens,
            stats.generated_tokens,
            stats.looked_up_tokens,
            stats.cached_tokens,
            stats.fine_first_token.copy(),
            stats.fine_inter_token.copy(),
        )


class ModelHistory:
    """Points of one model, and its latencies of the last minute. One thread uses it."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, str]] = deque(maxlen=int(HOUR_S / INTERVAL_S))
        self._samples: deque[_Sample] = deque(maxlen=int(MINUTE_S / INTERVAL_S) + 1)

    def add(
        self, date_s: float, num_runs: int, num_running: int, engine: EngineNumbers | None
    ) -> None:
        """Add a point: what has happened since the last one. `date_s` are seconds since 1970."""
        sample = _Sample.of(date_s, num_runs, None if engine is None else engine.stats)
        if self._samples:
            point = _point(self._samples[-1], sample, num_running, engine)
            text = json_bytes([point[name] for name in FIELDS]).decode()
            self._points.append((date_s, text))
        self._samples.append(sample)

    def text(self, since_s: float) -> str:
        """The points after a date, as a JSON list of lists."""
        points = (text for date_s, text in tuple(self._points) if date_s > since_s)
        return f"[{','.join(points)}]"

    def latencies(self, engine: EngineNumbers | None) -> Mapping[str, Any]:
        """Mean and percentiles of the last minute, in seconds; None where nothing was measured."""
        if engine is None:
            return {}
        stats = engine.stats
        first = self._samples[0] if self._samples else _Sample(0.0, 0.0, 0)
        return {
            "first_token_s": _spread(stats.fine_first_token, first.first_token),
            "inter_token_s": _spread(stats.fine_inter_token, first.inter_token),
        }


def _point(
    last: _Sample, now: _Sample, num_running: int, engine: EngineNumbers | None
) -> Mapping[str, float | None]:
    seconds = max(1e-3, now.made_s - last.made_s)
    point: dict[str, float | None] = dict.fromkeys(FIELDS)
    point |= {
        "time": now.date_s,
        "requests_per_s": _rate(now.num_runs - last.num_runs, seconds),
        "running": num_running,
    }
    if engine is None:
        return point
    num_looked_up = now.looked_up_tokens - last.looked_up_tokens
    num_cached = now.cached_tokens - last.cached_tokens
    return point | {
        "running": engine.load.num_running,
        "waiting": engine.load.num_waiting,
        "prompt_tokens_per_s": _rate(now.prompt_tokens - last.prompt_tokens, seconds),
        "generated_tokens_per_s": _rate(now.generated_tokens - last.generated_tokens, seconds),
        "first_token_s": _mean(now.first_token, last.first_token),
        "inter_token_s": _mean(now.inter_token, last.inter_token),
        "kv_usage": round(engine.load.kv_usage, DIGITS) if engine.load.num_blocks else None,
        "prefix_hit_rate": _rate(num_cached, num_looked_up) if num_looked_up > 0 else None,
    }


def _rate(count: float, seconds: float) -> float:
    # Counters begin again where an engine was replaced.
    return round(max(0.0, count / seconds), DIGITS)


def _mean(now: Histogram | None, last: Histogram | None) -> float | None:
    if now is None or last is None:
        return None
    count = now.count - last.count
    return round((now.sum - last.sum) / count, DIGITS) if count > 0 else None


def _spread(now: Histogram, last: Histogram | None) -> Mapping[str, float | int | None]:
    count = now.count - (0 if last is None else last.count)
    found: dict[str, float | int | None] = {"count": max(0, count)}
    found["mean"] = _mean(now, last or Histogram(now.bounds))
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        value = now.quantile(share, last) if count > 0 else None
        found[name] = None if value is None else round(value, DIGITS)
    return found
