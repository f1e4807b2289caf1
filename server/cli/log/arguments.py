"""What the command line says about the log and traces."""

from dataclasses import dataclass
from pathlib import Path

from server.terminal.flag_parser import AddFlag
from server.terminal.flag_values import otlp_url

__all__ = ["LogArguments", "add_log_flags"]

LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR")
LOG_FORMATS = ("text", "json")


@dataclass(frozen=True, slots=True)
class LogArguments:
    """The flags about the log and traces."""

    log_level: str
    log_format: str
    log_path: Path | None
    otlp_traces_endpoint: str | None


def add_log_flags(add: AddFlag) -> None:
    """Add the flags of a `LogArguments`."""
    add(
        "--log_level",
        type=str.upper,
        choices=LOG_LEVELS,
        default="INFO",
        help="How much to log: TRACE, DEBUG, INFO, WARNING or ERROR (default: INFO).",
    )
    add(
        "--log_format",
        type=str.lower,
        choices=LOG_FORMATS,
        default="text",
        help="The form of log lines (default: text). json writes each as one JSON object.",
    )
    add(
        "--log_path",
        type=Path,
        metavar="FILE",
        help="File to append the log to, besides standard error.",
    )
    add(
        "--otlp_traces_endpoint",
        type=otlp_url,
        metavar="URL",
        help="Collector to send OpenTelemetry traces to, over HTTP, or over gRPC where the port is "
        "4317 (default: OTEL_EXPORTER_OTLP_ENDPOINT, or else no traces). It needs the extra otel.",
    )
