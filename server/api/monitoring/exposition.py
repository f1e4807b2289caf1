"""Prometheus's text form, written from plain numbers.

A sample is one string with a number behind it. The library makes an object of each, which takes ten
times as long for the hundreds of buckets of a model. Most histograms have not changed since the
last scrape; their text is kept.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import accumulate

from server.host.metrics import Histogram

__all__ = ["Family", "label_text"]


def label_text(labels: Mapping[str, str]) -> str:
    """Labels as they stand in braces, with what is special in values escaped."""
    return ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items())


class Family:
    """The samples of one metric: `add` them, then take the `lines`. Without any it has none.

    The name of a counter is as it is on the wire.
    """

    def __init__(self, name: str, kind: str, description: str) -> None:
        self.name, self.kind, self.description = name, kind, description
        self._samples: list[str] = []

    def add(self, labels: str, value: float) -> None:
        """Add a counter or a gauge; `labels` are those of `label_text`."""
        braces = f"{{{labels}}}" if labels else ""
        self._samples.append(f"{self.name}{braces} {float(value)}\n")

    def add_histogram(self, labels: str, histogram: Histogram) -> None:
        """Add the buckets, the sum and the count of a histogram."""
        key = self.name, labels
        state = histogram.bounds, histogram.counts.copy(), histogram.sum
        kept = _KEPT.get(key)
        if kept is None or kept[0] != state:
            if len(_KEPT) >= MAX_KEPT:
                _KEPT.clear()
            kept = _KEPT[key] = state, _histogram_text(self.name, labels, *state)
        self._samples.append(kept[1])

    def lines(self) -> Iterator[str]:
        """The text of the family."""
        if self._samples:
            yield f"# HELP {self.name} {self.description}\n# TYPE {self.name} {self.kind}\n"
            yield from self._samples


State = tuple[tuple[float, ...], list[int], float]

MAX_KEPT = 2000
# By the name and the labels: the numbers of a histogram, and their text.
_KEPT: dict[tuple[str, str], tuple[State, str]] = {}


def _histogram_text(
    name: str, labels: str, bounds: tuple[float, ...], counts: list[int], total: float
) -> str:
    prefixes = _bucket_prefixes(name, labels, bounds)
    lines = [f"{p}{count}.0\n" for p, count in zip(prefixes, accumulate(counts), strict=True)]
    braces = f"{{{labels}}}" if labels else ""
    lines.append(f"{name}_count{braces} {sum(counts)}.0\n")
    lines.append(f"{name}_sum{braces} {float(total)}\n")
    return "".join(lines)


@lru_cache(maxsize=MAX_KEPT)
def _bucket_prefixes(name: str, labels: str, bounds: tuple[float, ...]) -> tuple[str, ...]:
    """What stands before the number of each bucket; it stays the same from scrape to scrape."""
    start = f"{name}_bucket{{{labels}," if labels else f"{name}_bucket{{"
    texts: Iterable[str] = (*(str(float(bound)) for bound in bounds), "+Inf")
    return tuple(f'{start}le="{text}"}} ' for text in texts)


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
