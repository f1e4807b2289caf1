"""The aiohttp application that serves the models of a manager."""

from collections.abc import AsyncIterator
from functools import partial

from aiohttp import web

from server.api.endpoint import add_routes
from server.api.endpoints import (
    adapters,
    embeddings,
    generation,
    images,
    infer,
    metrics,
    model_metadata,
    models,
    monitoring,
    raw,
    scoring,
    speech,
    status,
    stored_responses,
    tensorflow,
    tokenization,
)
from server.api.endpoints.openapi import openapi_endpoint
from server.api.keys import LORA_FOLDER, METRICS, MODEL_MANAGER, MONITOR, RELOAD_SECRETS
from server.api.middleware.application import make_application
from server.api.monitoring.http_requests import HttpNumbers
from server.api.monitoring.metrics_text import metrics_text
from server.api.monitoring.monitor import Monitor
from server.api.monitoring.prepared_text import PreparedText
from server.api.page.files import add_page
from server.api.replicas.replica_state import state_signal
from server.api.settings import HttpSettings
from server.api.unknown_fields import (
    UNKNOWN_FIELD_POLICY,
    UnknownFieldPolicy,
    add_ignored_fields,
)
from server.models.model_manager import ModelManager

__all__ = ["create_app"]

# Raw graphs last: they match every path that is left.
ENDPOINTS = (
    *status.ENDPOINTS,
    *metrics.ENDPOINTS,
    *monitoring.ENDPOINTS,
    *tensorflow.ENDPOINTS,
    *models.ENDPOINTS,
    *adapters.ENDPOINTS,
    *generation.ENDPOINTS,
    *stored_responses.ENDPOINTS,
    *scoring.ENDPOINTS,
    *speech.ENDPOINTS,
    *tokenization.ENDPOINTS,
    *images.ENDPOINTS,
    *embeddings.ENDPOINTS,
    *infer.ENDPOINTS,
    *model_metadata.ENDPOINTS,
    *raw.ENDPOINTS,
)


async def _run_monitor(app: web.Application) -> AsyncIterator[None]:
    app[MONITOR].start()
    yield
    app[MONITOR].stop()


def create_app(manager: ModelManager, settings: HttpSettings | None = None) -> web.Application:
    """The application of one server."""
    settings = settings or HttpSettings()
    http_numbers = HttpNumbers()
    app = make_application(settings, http_numbers)
    app[MODEL_MANAGER] = manager
    monitor = app[MONITOR] = Monitor(manager)
    app[METRICS] = PreparedText(
        partial(metrics_text, manager, http_numbers),
        "metrics",
        lambda: http_numbers.num_ended + monitor.num_ended,
    )
    app.cleanup_ctx.append(_run_monitor)
    app[RELOAD_SECRETS] = settings.reload_secrets or (lambda: None)
    app[LORA_FOLDER] = settings.lora_folder
    app[UNKNOWN_FIELD_POLICY] = UnknownFieldPolicy(refuses=settings.refuses_unknown_fields)
    app.on_response_prepare.append(add_ignored_fields)
    if settings.front_secret is not None:
        app.on_response_prepare.append(state_signal(manager))
    if settings.has_page:
        add_page(app.router)
    add_routes(app.router, [openapi_endpoint(ENDPOINTS), *ENDPOINTS])
    return app
