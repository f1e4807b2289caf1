"""GET /metrics: what Prometheus reads."""

from aiohttp import web

from server.api.endpoint import Answer, Endpoint
from server.api.keys import METRICS
from server.host.metrics import METRICS_CONTENT_TYPE

__all__ = ["ENDPOINTS"]


async def _get_metrics(request: web.Request) -> web.Response:
    """The metrics of the process, in Prometheus's text form."""
    text = await request.app[METRICS].get()
    return web.Response(body=text, headers={"Content-Type": METRICS_CONTENT_TYPE})


ENDPOINTS = (
    Endpoint(
        "GET",
        "/metrics",
        _get_metrics,
        "Metrics in Prometheus's text form",
        {"200": Answer("The metrics", {"text/plain": {"type": "string"}})},
    ),
)
