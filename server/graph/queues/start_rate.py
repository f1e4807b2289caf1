"""How many of the things that wait start per second."""

import math

__all__ = ["StartRate"]

HORIZON_S = 20.0
"""What started longer ago hardly counts."""


class StartRate:
    """An average over the last seconds in which something waited, weighted towards the newest."""

    def __init__(self) -> None:
        self._count = 0.0
        # How many seconds the count is of, older ones weighted less.
        self._seconds = 0.0
        self._last: float | None = None

    def add(self, number: int, now: float) -> None:
        """Count what starts while more waits; the first start only begins the time."""
        if self._last is not None:
            self._advance(now)
            self._count += number
        self._last = now

    def pause(self) -> None:
        """Nothing waits: the time until the next start says nothing."""
        self._last = None

    def per_second(self, now: float) -> float | None:
        """The rate; None while too little is known."""
        if self._last is not None:
            self._advance(now)
            self._last = now
        return self._count / self._seconds if self._seconds > 0.5 else None

    def _advance(self, now: float) -> None:
        assert self._last is not None
        weight = math.exp(min(0.0, self._last - now) / HORIZON_S)
        self._count *= weight
        self._seconds = self._seconds * weight + HORIZON_S * (1 - weight)
