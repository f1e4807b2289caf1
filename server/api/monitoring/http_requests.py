"""Counts HTTP requests by the template of their path, named as servers of FastAPI name them."""

from collections.abc import Iterator

from aiohttp import web

from server.api.monitoring.exposition import Family, label_text
from server.host.metrics import Histogram

__all__ = ["HttpNumbers"]

# What is asked every few seconds says nothing of the work; vLLM leaves out the same.
EXCLUDED = {"/metrics", "/health", "/load", "/v2/health/live", "/v2/health/ready"}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class HttpNumbers:
    """Requests that have ended, and those that run. The event loop counts; any thread may read."""

    def __init__(self) -> None:
        self.num_running = 0
        self.num_ended = 0
        self._counts: dict[tuple[str, str, str], int] = {}
        self._seconds: dict[tuple[str, str], Histogram] = {}

    def note(self, request: web.Request, status: int, seconds: float) -> None:
        """Count a request that has ended."""
        resource = request.match_info.route.resource
        handler = "none" if resource is None else resource.canonical
        if handler in EXCLUDED:
            return
        self.num_ended += 1
        method = request.method if request.method in METHODS else "other"
        key = handler, method, f"{status // 100}xx"
        self._counts[key] = self._counts.get(key, 0) + 1
        histogram = self._seconds.get((handler, method))
        if histogram is None:
            histogram = self._seconds[handler, method] = Histogram(SECONDS)
        histogram.observe(seconds)

    def families(self) -> Iterator[Family]:
        """The metrics."""
        yield from self.of_ended()
        running = Family("http_requests_in_progress", "gauge", "HTTP requests that run now")
        running.add("", self.num_running)
        yield running

    def of_ended(self) -> Iterator[Family]:
        """The metrics of requests that have ended."""
        counts = Family(
            "http_requests_total",
            "counter",
            "HTTP requests that have ended",
        )
        for (handler, method, status), count in tuple(self._counts.items()):
            labels = {"handler": handler, "method": method, "status": status}
            counts.add(label_text(labels), count)
        seconds = Family(
            "http_request_duration_seconds", "histogram", "HTTP requests, to the end of the answer"
        )
        for (handler, method), histogram in tuple(self._seconds.items()):
            seconds.add_histogram(label_text({"handler": handler, "method": method}), histogram)
        yield from (counts, seconds)
