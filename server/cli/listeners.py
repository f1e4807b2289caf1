"""The HTTP server and, where the command line asks for it, the gRPC server."""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from server.api.clients.api_keys import KeyRing, concurrency_limits
from server.api.clients.key_file import read_keys
from server.api.clients.tls import Tls
from server.api.clients.wrong_keys import WrongKeys
from server.api.http_server import REST_FLAGS, HttpServer, ListenFlags, MakeApp, open_sockets
from server.api.kserve_grpc.settings import GrpcSettings
from server.api.settings import HttpSettings
from server.cli.access.api_keys import find_keys
from server.cli.access.secret_files import SecretFiles
from server.cli.access.tls_arguments import TlsArguments
from server.cli.grpc_arguments import GrpcArguments
from server.cli.http_arguments import HttpArguments
from server.models.model_manager import ModelManager

__all__ = ["GrpcDoor", "Listeners", "make_grpc_server", "prepare_grpc"]

GRPC_FLAGS = ListenFlags("--port", "--grpc_bind_address")


class GrpcDoor(Protocol):
    """A gRPC server."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class Listeners:
    """Binds all addresses when it is made. Raises ConfigError where that fails.

    `make_app` and `make_grpc` make what answers there. `secrets` are the files of keys and
    certificates that it uses.
    """

    def __init__(
        self,
        http: HttpArguments,
        tls: TlsArguments,
        grpc: GrpcArguments,
        make_app: MakeApp,
        make_grpc: Callable[[Sequence[socket.socket], GrpcSettings], GrpcDoor],
    ) -> None:
        self.secrets = SecretFiles()
        settings = replace(
            self._use_keys(http),
            tls=self._read_certificate(tls),
            reload_secrets=self.secrets.reload,
        )
        end = "" if settings.tls is None else "s"
        rest_sockets = open_sockets(http.rest_bind_address, http.rest_port, REST_FLAGS)
        self._urls = [_url(f"http{end}", opened) for opened in rest_sockets]
        if settings.allowed_hosts is not None or self.is_local():
            allowed_hosts = (*(settings.allowed_hosts or ()), *http.rest_bind_address)
            settings = replace(settings, allowed_hosts=allowed_hosts)
        self._http = HttpServer(make_app(settings), rest_sockets, settings)
        self._grpc: GrpcDoor | None = None
        if grpc.port is not None:
            grpc_addresses = grpc.grpc_bind_address or http.rest_bind_address
            grpc_sockets = open_sockets(grpc_addresses, grpc.port, GRPC_FLAGS)
            self._urls += [_url(f"grpc{end}", opened) for opened in grpc_sockets]
            self._grpc = make_grpc(grpc_sockets, grpc.settings(settings))

    def _use_keys(self, http: HttpArguments) -> HttpSettings:
        """The settings with the keys of the file, which are read again when it changes."""
        file, keys = http.api_key_file, find_keys(http.api_key_file)
        if not keys:
            return http.settings(None)
        ring = KeyRing(keys, WrongKeys(http.max_wrong_keys_per_minute))
        settings = http.settings(ring)
        settings.clients.own = concurrency_limits(keys)

        def read_again(file: Path) -> None:
            keys = read_keys(file)
            ring.replace(keys)
            settings.clients.own = concurrency_limits(keys)

        if file is not None:
            self.secrets.add([file], partial(read_again, file))
        return settings

    def _read_certificate(self, arguments: TlsArguments) -> Tls | None:
        tls = arguments.load()
        if tls is not None:
            self.secrets.add(tls.files.paths(), tls.reload)
        return tls

    async def start(self) -> None:
        """Start to answer. Raises ConfigError if an address was taken a moment ago."""
        await self._http.start()
        if self._grpc is not None:
            await self._grpc.start()

    async def stop(self) -> None:
        """Stop listening and cancel the requests that still run."""
        if self._grpc is not None:
            await self._grpc.stop()
        await self._http.stop()

    def urls(self) -> list[str]:
        """Where the servers listen, HTTP first."""
        return self._urls

    def is_local(self) -> bool:
        """Whether only this machine can ask."""
        return all("://127." in url or "://[::1]" in url for url in self._urls)


def prepare_grpc() -> None:
    """Set what the gRPC library reads when it is imported."""
    # Else it writes a line to the log of each process that is started.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")


def make_grpc_server(
    manager: ModelManager, sockets: Sequence[socket.socket], settings: GrpcSettings
) -> GrpcDoor:
    """The gRPC server of a manager's models."""
    prepare_grpc()
    # The library takes time and memory.
    from server.api.kserve_grpc.grpc_server import GrpcServer

    return GrpcServer(manager, sockets, settings)


def _url(scheme: str, opened: socket.socket) -> str:
    host, port = opened.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
