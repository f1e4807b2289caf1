"""The registry of this process, and its text form."""

from collections.abc import Iterable
from time import monotonic

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

__all__ = ["METRICS_CONTENT_TYPE", "add_collector", "counter", "gauge", "render_metrics"]

METRICS_CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_REGISTRY = CollectorRegistry()

# Else each counter has a second series with the time of its start.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library lacks its type


PROCESS_AGE_S = 0.5


class _Process(Collector):
    """Memory, processor time, open files and the time of the start, named as all exporters do.

    The system takes longer to tell them than all other numbers take; they are kept for a moment.
    """

    def __init__(self) -> None:
        self._collector = ProcessCollector(registry=None)
        self._metrics: Iterable[Metric] = ()
        self._read_s = float("-inf")

    def collect(self) -> Iterable[Metric]:
        now_s = monotonic()
        if now_s - self._read_s > PROCESS_AGE_S:
            self._metrics, self._read_s = tuple(self._collector.collect()), now_s
        return self._metrics


_REGISTRY.register(_Process())


def counter(name: str, description: str, *labels: str) -> Counter:
    """A new counter; the text form adds `_total` to its name."""
    return Counter(name, description, labels, registry=_REGISTRY)


def gauge(name: str, description: str, *labels: str) -> Gauge:
    """A new gauge."""
    return Gauge(name, description, labels, registry=_REGISTRY)


def add_collector(collector: Collector) -> None:
    """Add metrics that are made when somebody asks; `collect` must neither wait nor lock."""
    _REGISTRY.register(collector)


def render_metrics() -> bytes:
    """All metrics as text. It may take milliseconds, so it has no place on an event loop."""
    return generate_latest(_REGISTRY)
