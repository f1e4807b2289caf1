"""Sends spans to a collector, in a thread of OpenTelemetry's, without ever being in the way."""

import logging
import threading
from collections.abc import Sequence
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from server.api.tracing.request_trace import RequestTracer
from server.api.tracing.settings import TracingSettings
from server.errors import ConfigError, describe_error
from server.host.version import DISTRIBUTION, version

__all__ = ["TraceExport"]

logger = logging.getLogger(__name__)

# How long the last spans may take while the server stops.
STOP_TIMEOUT_S = 2.0
SERVICE_NAME = "service.name"


class TraceExport:
    """From construction to `stop`. Raises ConfigError where a variable cannot be used.

    At most 2048 spans wait (OTEL_BSP_MAX_QUEUE_SIZE); further ones are dropped.
    """

    def __init__(self, settings: TracingSettings) -> None:
        _quieten()
        try:
            exporter = _Exporter(_make_exporter(settings), settings)
            # By OTEL_TRACES_SAMPLER and OTEL_BSP_*. Not at exit: there it would wait for minutes.
            self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
            propagate.get_global_textmap()
        except ValueError as error:
            raise ConfigError(f"OpenTelemetry's settings cannot be used: {error}") from error
        # For calculators that make spans of their own.
        trace.set_tracer_provider(self._provider)
        tracer = self._provider.get_tracer(DISTRIBUTION, version())
        self.tracer = RequestTracer(tracer, captures_content=settings.captures_content)
        logger.info("Traces are sent to %s (%s)", settings.shown, settings.protocol)

    def stop(self) -> None:
        """Send what waits, for at most two seconds."""
        # A daemon: a collector that does not answer must not keep the process.
        thread = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        thread.start()
        thread.join(STOP_TIMEOUT_S)


def _make_exporter(settings: TracingSettings) -> Any:
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    return OTLPSpanExporter(endpoint=settings.url)


def _resource() -> Resource:
    """What sends the spans: by OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, else this server."""
    found = Resource.create({"service.version": version()})
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: DISTRIBUTION}))
    return found


class _Reasons(logging.Handler):
    """Keeps what OpenTelemetry's exporter says of a failure, instead of writing it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        # The lines after the first one say only that it has given up.
        if not self.first and record.name.startswith("opentelemetry.exporter"):
            self.first = record.getMessage().partition(" encountered while")[0]


_REASONS = _Reasons()


def _quieten() -> None:
    """Keep OpenTelemetry from writing several lines for each batch that fails."""
    for name in ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal"):
        library = logging.getLogger(name)
        library.propagate = False
        library.handlers = [_REASONS]


class _Exporter:
    """An exporter that says once that it cannot send, and once that it can again."""

    def __init__(self, exporter: Any, settings: TracingSettings) -> None:
        self._exporter = exporter
        self._shown = settings.shown
        self._secrets = settings.secrets
        self._num_lost = 0

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        """Send spans; called by OpenTelemetry's thread."""
        _REASONS.first = ""
        try:
            result: SpanExportResult = self._exporter.export(spans)
        except Exception as error:
            # OpenTelemetry would tell only its own log, which is not written.
            _REASONS.first = describe_error(error)
            result = SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            if self._num_lost:
                lost, self._num_lost = self._num_lost, 0
                logger.warning("Traces are sent to %s again; %d spans are lost", self._shown, lost)
        else:
            if not self._num_lost:
                logger.warning(
                    "Traces cannot be sent to %s: %s. Requests go on without them",
                    self._shown,
                    self._reason() or "no reason is known",
                )
            self._num_lost += len(spans)
        return result

    def _reason(self) -> str:
        """Why the last batch was not taken. The exporter writes the path that it asked for."""
        reason = _REASONS.first
        for secret in self._secrets:
            reason = reason.replace(secret, "...")
        return reason

    def shutdown(self) -> None:
        """End; what is being sent may be given up."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return bool(self._exporter.force_flush(timeout_millis))
