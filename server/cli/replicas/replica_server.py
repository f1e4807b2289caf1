"""Serves in the process of a replica, for the front alone."""

import asyncio
import fcntl
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from server.api.app import create_app
from server.api.connections.settings import ConnectionSettings
from server.api.http_server import HttpServer
from server.api.tracing.settings import sending_traces
from server.cli.access.secret_files import SecretFiles
from server.cli.command_line import CommandLine
from server.cli.listeners import GrpcDoor, make_grpc_server
from server.cli.log.log_writer import LogWriter
from server.cli.replicas.replica_settings import ReplicaSettings
from server.cli.serving import run_server
from server.cli.single_server import make_manager
from server.errors import ConfigError
from server.host.machine_share import MACHINE_SHARE
from server.models.file_watcher import FileWatcher
from server.models.model_manager import ModelManager

if TYPE_CHECKING:
    from server.api.tracing.request_trace import RequestTracer

__all__ = ["serve_replica"]

logger = logging.getLogger("server")

LOCK_INTERVAL_S = 0.2
# Linux takes no more than net.core.somaxconn; the front waits where that is not enough.
BACKLOG = 2**15
# The front limits connections; a header of its own is larger than clients may send.
CONNECTIONS = ConnectionSettings(
    max_connections=0,
    max_connections_per_client=0,
    header_timeout_s=0,
    timeout_keep_alive_s=0,
    write_timeout_s=0,
    max_header_bytes=2**17,
)


def serve_replica(line: CommandLine, settings: ReplicaSettings, problem: str | None) -> int:
    """Serve until the front stops this process; `problem` is why it is not bound to its place."""
    log = LogWriter(line.log.log_level, line.log.log_format, settings.label)
    try:
        if line.log.log_path is not None:
            log.add_file(line.log.log_path)
        if problem is not None:
            logger.warning("%s", problem)
        return _serve(line, settings, log)
    except ConfigError as error:
        logger.error("%s", error)
        return 1
    finally:
        log.close()


def _serve(line: CommandLine, settings: ReplicaSettings, log: LogWriter) -> int:
    MACHINE_SHARE.num_processes = settings.num_replicas
    MACHINE_SHARE.memory_bytes = settings.memory_bytes
    share = settings.place.memory_share
    serving = replace(line.serving, memory_budget_gb=line.serving.memory_budget_gb * share)
    line = replace(line, serving=serving)
    manager = make_manager(line, None, lambda: _lock(settings.reload_lock))
    # The front has waited for requests before it stops this process.
    at_once = replace(serving, drain_timeout_s=0.0)
    watcher = FileWatcher(manager, serving.file_system_poll_wait_seconds)
    with sending_traces(line.log.otlp_traces_endpoint) as tracer:
        listeners = _Listeners(line, settings, manager, tracer)
        return run_server(at_once, manager, listeners, log, watcher)


@asynccontextmanager
async def _lock(path: Path) -> AsyncIterator[None]:
    """Wait until no other replica reloads: those that serve meanwhile have the requests."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(LOCK_INTERVAL_S)
        yield


class _Listeners:
    """The Unix sockets of a replica."""

    def __init__(
        self,
        line: CommandLine,
        settings: ReplicaSettings,
        manager: ModelManager,
        tracer: "RequestTracer | None",
    ) -> None:
        self.secrets = SecretFiles()
        http = replace(
            line.http.settings(None),
            front_secret=settings.secret,
            connections=CONNECTIONS,
            tracer=tracer,
        )
        self._http = HttpServer(create_app(manager, http), [_listen(settings.http_socket)], http)
        self._grpc: GrpcDoor | None = None
        if line.grpc.port is not None:
            grpc = replace(
                line.grpc.settings(http),
                front_secret=settings.secret,
                unix_addresses=(f"unix:{settings.grpc_socket}",),
                tracer=tracer,
            )
            settings.grpc_socket.unlink(missing_ok=True)
            self._grpc = make_grpc_server(manager, [], grpc)

    async def start(self) -> None:
        """Start to answer."""
        await self._http.start()
        if self._grpc is not None:
            await self._grpc.start()

    async def stop(self) -> None:
        """Stop listening and cancel the requests that still run."""
        if self._grpc is not None:
            await self._grpc.stop()
        await self._http.stop()

    def urls(self) -> list[str]:
        """None that people could use."""
        return []

    def is_local(self) -> bool:
        """Only the front can ask."""
        return True


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    opened = socket.socket(socket.AF_UNIX)
    try:
        opened.bind(os.fspath(path))
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise ConfigError(f"{path}: cannot listen there: {error.strerror or error}") from error
    return opened
