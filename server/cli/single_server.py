"""Wires a server of one process: configuration -> models -> HTTP and gRPC."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

from server.api.app import create_app
from server.api.monitoring.ovms_numbers import OVMS
from server.api.tracing.settings import sending_traces
from server.cli.command_line import CommandLine
from server.cli.listeners import Listeners, make_grpc_server
from server.cli.log.log_writer import LogWriter
from server.cli.serving import run_server
from server.graph import Services
from server.models.file_watcher import FileWatcher
from server.models.loading.load import LoadLimits
from server.models.model_manager import ModelManager, ReloadTurn
from server.payloads import LateAdapters, LoadOptions

__all__ = ["make_manager", "serve"]


def serve(line: CommandLine, log: LogWriter) -> int:
    """Serve until a signal comes; returns the exit status. Raises ConfigError."""
    manager = make_manager(line, log.show_progress if log.shows_progress else None)
    watcher = FileWatcher(manager, line.serving.file_system_poll_wait_seconds)
    with sending_traces(line.log.otlp_traces_endpoint) as tracer:
        listeners = Listeners(
            line.http,
            line.tls,
            line.grpc,
            lambda settings: create_app(manager, replace(settings, tracer=tracer)),
            lambda sockets, settings: make_grpc_server(
                manager, sockets, replace(settings, tracer=tracer)
            ),
        )
        return run_server(line.serving, manager, listeners, log, watcher)


def make_manager(
    line: CommandLine,
    on_progress: Callable[[str, float], None] | None,
    reload_turn: ReloadTurn = nullcontext,
) -> ModelManager:
    """The models that the command line names, not loaded yet. Raises ConfigError."""
    config = line.models.load_config()
    if line.http.metrics_enable or config.metrics is not None:
        OVMS.enable(line.http.metrics_list or config.metrics or ())
    services = Services(
        on_progress=on_progress,
        cache_dir=line.serving.make_cache_dir(),
        extras=(
            line.serving.queue_defaults(),
            LoadLimits(line.serving.load_timeout_seconds),
            LoadOptions(
                auto_tune=not line.serving.no_auto_tune,
                chat_template=line.models.template_path,
                chat_template_time_limit_ms=line.serving.chat_template_time_limit_ms,
                split_special_tokens=line.serving.split_special_tokens,
                lora_modules=line.models.lora_sources,
                takes_lora_adapters=line.http.lora_folder is not None,
            ),
            LateAdapters(),
        ),
    )
    drain_s, residency = line.serving.drain_timeout_s, line.serving.residency
    return ModelManager(config, drain_s, services, residency, reload_turn)
