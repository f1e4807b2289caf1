"""All replicas of a server, from their start to their end."""

import asyncio
import logging
import secrets
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from server.api.kserve_grpc.settings import GrpcSettings
from server.api.replicas.backend import Backend
from server.api.replicas.front import Front
from server.cli.command_line import CommandLine
from server.cli.listeners import GrpcDoor, Listeners, prepare_grpc
from server.cli.log.log_writer import LogWriter
from server.cli.replicas.plan import describe_places
from server.cli.replicas.process import ReplicaProcess
from server.cli.replicas.replica_settings import ReplicaSettings
from server.cli.serving import run_server
from server.errors import ConfigError
from server.host.memory import available_bytes
from server.host.processors.topology import Place
from server.host.watch import start_vital_task

__all__ = ["serve_replicas"]

logger = logging.getLogger("server")

LOOK_INTERVAL_S = 0.1
STOP_TIMEOUT_S = 10.0
TIMEOUT_MARGIN_S = 5.0
# Linux takes no longer name of a Unix socket.
MAX_SOCKET_NAME = 100


def serve_replicas(line: CommandLine, places: Sequence[Place], log: LogWriter) -> int:
    """Serve with a replica in each place until a signal comes. Raises ConfigError."""
    # Mistakes in it are found before anything is started.
    line.models.load_config()
    line.serving.make_cache_dir()
    for text in describe_places(places):
        logger.info("%s", text)
    folder = _make_folder()
    try:
        group = ReplicaGroup(line, places, folder)
        front = group.front
        http = line.http
        if http.request_timeout_s:
            # A replica ends its request first, in the words of its protocol.
            later_s = http.request_timeout_s + TIMEOUT_MARGIN_S
            http = replace(http, request_timeout_s=later_s)
        listeners = Listeners(http, line.tls, line.grpc, front.make_app, partial(_make_grpc, front))
        return run_server(line.serving, group, listeners, log)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_grpc(front: Front, sockets: Sequence[socket.socket], settings: GrpcSettings) -> GrpcDoor:
    prepare_grpc()
    # The library takes time and memory.
    from server.api.kserve_grpc.grpc_front import GrpcFront

    return GrpcFront(front.router, front.secret, sockets, settings)


def _make_folder() -> Path:
    """A folder that only this user may enter. Raises ConfigError."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="replicas-"))
    except OSError as error:
        raise ConfigError(f"no folder for the replicas' sockets: {error}") from error
    if len(str(folder)) > MAX_SOCKET_NAME - len("/999.http"):
        shutil.rmtree(folder)
        raise ConfigError(f"{folder}: too long for the name of a socket; TMPDIR names another")
    return folder


class ReplicaGroup:
    """The replicas, which together serve the models of one server."""

    def __init__(self, line: CommandLine, places: Sequence[Place], folder: Path) -> None:
        secret = secrets.token_urlsafe(32)
        memory = available_bytes()
        shares = (int(memory * place.memory_share) for place in places)
        self.settings = [
            ReplicaSettings(number, len(places), place, share, folder, secret)
            for number, (place, share) in enumerate(zip(places, shares, strict=True))
        ]
        self._backends = []
        self._processes = []
        for settings in self.settings:
            backend = Backend(settings.number, settings.http_socket, settings.grpc_socket)
            self._backends.append(backend)
            self._processes.append(ReplicaProcess(settings, line, backend))
        self.front = Front(self._backends, secret, line.replicas.max_replica_imbalance)
        self._keeping: list[asyncio.Task[None]] = []
        self._states: Mapping[str, Any] = {}

    @property
    def num_running(self) -> int:
        """Requests that replicas work on."""
        return sum(len(backend.work) for backend in self._backends)

    async def load_all(self) -> None:
        """Start all replicas, and wait until their first loads are over. Raises ConfigError."""
        self.front.start()
        first, *others = zip(self._processes, self._backends, strict=True)
        # Alone: the others use what it measures and compiles.
        await self._start(*first)
        starting = [asyncio.create_task(self._start(*other)) for other in others]
        try:
            await asyncio.gather(*starting)
        finally:
            # Where one fails, the others must not be kept running while all are stopped.
            for task in starting:
                task.cancel()
        self._states = await self.front.states()

    async def _start(self, process: ReplicaProcess, backend: Backend) -> None:
        await process.start()
        ending = asyncio.create_task(process.wait())
        try:
            while not backend.has_loaded:
                await asyncio.wait([ending], timeout=LOOK_INTERVAL_S)
                if ending.done():
                    problem = f"{backend.name}: {ending.result()}"
                    raise ConfigError(f"{problem}; the lines above say why")
        finally:
            ending.cancel()
        keeping = process.keep_running()
        self._keeping.append(start_vital_task(keeping, f"keeping {backend.name} running"))

    def available_models(self) -> Sequence[str]:
        """The models that could be used when all was loaded."""
        return [
            name
            for name, model in self._states.items()
            if any(v["state"] == "AVAILABLE" for v in model["model_version_status"])
        ]

    def served_names(self) -> Sequence[str]:
        """The names of all models."""
        return list(self._states)

    async def reload(self, *, retry_failed: bool) -> bool:
        """Let one replica after the other load what changed; they try again what failed."""
        return await self.front.reload()

    async def replace_hung(self) -> None:
        """Replicas replace what hangs in them."""

    def give_up_hung_nodes(self, seconds: float) -> None:
        """Replicas end the requests in which a node hangs."""

    async def close(self, drain_s: float) -> None:
        """Refuse new requests, give running ones `drain_s` seconds, and stop all replicas."""
        await self.front.drain(drain_s)
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*(process.stop(STOP_TIMEOUT_S) for process in self._processes))
        await self.front.close()

    async def wait_for_reloads(self) -> None:
        """Nothing is loaded in this process."""
