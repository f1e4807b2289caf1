"""Whether and where traces are sent: by the flag, or by OpenTelemetry's own variables."""

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from server.errors import ConfigError

if TYPE_CHECKING:
    from server.api.tracing.export import TraceExport
    from server.api.tracing.request_trace import RequestTracer

__all__ = ["FLAG", "TracingSettings", "sending_traces", "start_tracing"]

logger = logging.getLogger(__name__)

FLAG = "--otlp_traces_endpoint"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
PROTOCOLS = ("http/protobuf", "grpc")
GRPC_PORT = 4317
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CAPTURES = {"true", "span_only", "span_and_event"}
INSTALL = "pip install '.[otel]'"


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """`url` is where traces go; None leaves it to OpenTelemetry's variables, which name `shown`.

    `shown` is for people: it has no secret that the URL may hold. `secrets` are those.
    """

    url: str | None
    shown: str
    protocol: str
    captures_content: bool
    secrets: tuple[str, ...] = ()


@contextmanager
def sending_traces(endpoint: str | None) -> "Iterator[RequestTracer | None]":
    """A context with what makes the spans of requests, or None where nobody wants them.

    `endpoint` is the value of the flag. Raises what `start_tracing` raises.
    """
    export = start_tracing(endpoint)
    if export is None:
        yield None
        return
    try:
        yield export.tracer
    finally:
        export.stop()


def start_tracing(endpoint: str | None) -> "TraceExport | None":
    """Start to send traces if somebody asks for it. `endpoint` is the value of the flag.

    Raises ConfigError for settings that cannot work, and where the flag needs the extra otel.
    """
    settings = _find_settings(endpoint)
    if settings is None:
        return None
    package = "proto.grpc" if settings.protocol == "grpc" else "proto.http"
    if not _has(f"opentelemetry.exporter.otlp.{package}"):
        problem = f"needs the packages of the extra [otel]: {INSTALL}"
        if endpoint is not None:
            raise ConfigError(f"{FLAG} {problem}")
        # The variables may be meant for others on this machine.
        logger.warning("No traces are sent to %s: that %s", settings.shown, problem)
        return None
    # It takes a third of a second.
    from server.api.tracing.export import TraceExport

    return TraceExport(settings)


def _has(module: str) -> bool:
    try:
        return all(map(importlib.util.find_spec, ("opentelemetry.sdk.trace", module)))
    except ModuleNotFoundError:
        return False


def _find_settings(endpoint: str | None) -> TracingSettings | None:
    given = endpoint or _variable(TRACES_ENDPOINT) or _variable(ENDPOINT)
    if not given or _variable("OTEL_SDK_DISABLED").lower() == "true":
        return None
    exporters = _variable("OTEL_TRACES_EXPORTER")
    if endpoint is None and exporters and "otlp" not in exporters.split(","):
        return None
    protocol = _protocol(given)
    captures_content = _variable(CAPTURE).lower() in CAPTURES
    url = None if endpoint is None else _traces_url(endpoint, protocol)
    shown, secrets = _split_secrets(given)
    return TracingSettings(url, shown, protocol, captures_content, secrets)


def _split_secrets(url: str) -> tuple[str, tuple[str, ...]]:
    """The URL as the log may show it, and what it leaves out: the user info and the query."""
    address, _, query = url.partition("?")
    scheme, colon, rest = address.rpartition("://")
    authority, slash, path = rest.partition("/")
    user_info, _, host = authority.rpartition("@")
    return f"{scheme}{colon}{host}{slash}{path}", tuple(filter(None, (user_info, query)))


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def _protocol(url: str) -> str:
    """OpenTelemetry's default is HTTP, which nobody serves at the port of gRPC."""
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    for name in names:
        found = _variable(name).lower()
        if found and found not in PROTOCOLS:
            possible = ", ".join(PROTOCOLS)
            raise ConfigError(f"{name}: {found!r} is not possible; possible: {possible}")
        if found:
            return found
    parts = urlsplit(url)
    return "grpc" if parts.scheme.startswith("grpc") or parts.port == GRPC_PORT else PROTOCOLS[0]


def _traces_url(url: str, protocol: str) -> str:
    """The flag's URL as the exporter wants it; HTTP's has a path, for which there is a default."""
    parts = urlsplit(url)
    if protocol == "grpc":
        scheme = "https" if parts.scheme in {"https", "grpcs"} else "http"
        return parts._replace(scheme=scheme).geturl()
    return url if parts.path.strip("/") else parts._replace(path="/v1/traces").geturl()
