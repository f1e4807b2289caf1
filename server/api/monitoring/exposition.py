"""Prometheus's text form, written from plain numbers.

A sample is one string with a number behind it. The library makes an object of each, which takes ten
times as long for the hundreds of buckets of a model.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

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
        total, braces = 0, f"{{{labels}}}" if labels else ""
        prefixes = _bucket_prefixes(self.name, labels, histogram.bounds)
        for prefix, count in zip(prefixes, tuple(histogram.counts), strict=True):
            total += count
            self._samples.append(f"{prefix}{total}.0\n")
        self._samples.append(f"{self.name}_count{braces} {total}.0\n")
        self._samples.append(f"{self.name}_sum{braces} {float(histogram.sum)}\n")

    def lines(self) -> Iterator[str]:
        """The text of the family."""
        if self._samples:
            yield f"# HELP {self.name} {self.description}\n# TYPE {self.name} {self.kind}\n"
            yield from self._samples


@lru_cache(maxsize=10_000)
def _bucket_prefixes(name: str, labels: str, bounds: tuple[float, ...]) -> tuple[str, ...]:
    """What stands before the number of each bucket; it stays the same from scrape to scrape."""
    start = f"{name}_bucket{{{labels}," if labels else f"{name}_bucket{{"
    texts: Iterable[str] = (*(str(float(bound)) for bound in bounds), "+Inf")
    return tuple(f'{start}le="{text}"}} ' for text in texts)


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
