"""GET /metrics: what Prometheus reads."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from server.api.endpoint import Answer, Endpoint
from server.host.metrics import METRICS_CONTENT_TYPE, render_metrics

__all__ = ["ENDPOINTS"]

# Of its own: the loop's worker threads may all be busy with long texts.
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="metrics")


async def _get_metrics(_: web.Request) -> web.Response:
    """The metrics of the process, in Prometheus's text form; no request waits for it."""
    text = await asyncio.get_running_loop().run_in_executor(_THREAD, render_metrics)
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
