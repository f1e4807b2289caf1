"""A histogram that one thread writes and others read: plain numbers without a lock."""

from bisect import bisect_left
from collections.abc import Sequence

__all__ = ["Histogram"]


class Histogram:
    """Counts of observed values between `bounds`, which ascend; a bound belongs to what is below.

    `counts` has one more entry than `bounds`, for what is above all of them.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def add(self, other: "Histogram") -> None:
        """Count what another one has counted; its bounds may be others, of a model's length."""
        same = self.bounds == other.bounds
        for index, count in enumerate(other.counts):
            if same:
                self.counts[index] += count
            elif count:
                bound = other.bounds[index] if index < len(other.bounds) else float("inf")
                self.counts[bisect_left(self.bounds, bound)] += count
        self.sum += other.sum

    def copy(self) -> "Histogram":
        """One with the same numbers, which do not change."""
        copied = Histogram(self.bounds)
        copied.counts, copied.sum = self.counts.copy(), self.sum
        return copied

    def quantile(self, share: float, since: "Histogram | None" = None) -> float | None:
        """The value below which this share, 0 to 1, of the values are; None without any.

        Counts only what came after `since`, an earlier copy. It is interpolated between bounds.
        """
        earlier = [0] * len(self.counts) if since is None else since.counts
        counts = [count - before for count, before in zip(self.counts, earlier, strict=True)]
        wanted = share * sum(counts)
        if not wanted:
            return None
        below, low = 0, 0.0
        for bound, count in zip(self.bounds, counts, strict=False):
            if count and below + count >= wanted:
                return low + (bound - low) * (wanted - below) / count
            below, low = below + count, bound
        return self.bounds[-1]
