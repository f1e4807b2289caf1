"""The counters, gauges and histograms of this process, in Prometheus's form. Every room may count.

    REJECTIONS = counter("vllm:admission_rejections", "Requests that were refused", "reason")
    REJECTIONS.labels("max_num_queued_reqs").inc()

A gauge whose value is kept elsewhere reads it by `gauge(...).set_function(read)`; `read` is called
in a thread of its own, and must neither wait nor lock.
"""

from server.host.metrics.engine_stats import AdaptersInUse, EngineLoad, EngineStats
from server.host.metrics.engines import ENGINES, EngineNumbers, LiveEngine
from server.host.metrics.histogram import Histogram
from server.host.metrics.registry import (
    METRICS_CONTENT_TYPE,
    add_collector,
    counter,
    gauge,
    render_metrics,
)

__all__ = [
    "ENGINES",
    "METRICS_CONTENT_TYPE",
    "AdaptersInUse",
    "EngineLoad",
    "EngineNumbers",
    "EngineStats",
    "Histogram",
    "LiveEngine",
    "add_collector",
    "counter",
    "gauge",
    "render_metrics",
]
