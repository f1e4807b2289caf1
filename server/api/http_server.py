"""Opens the sockets, and starts and stops the HTTP server."""

import errno
import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from aiohttp import web

from server.api.clients.tls import ServerContext
from server.api.connections.acceptor import Acceptor
from server.api.connections.connection import Connection
from server.api.connections.connection_pool import ConnectionPool
from server.api.connections.settings import ConnectionSettings
from server.api.settings import HttpSettings
from server.errors import ConfigError
from server.host.file_descriptors import raise_limit

__all__ = ["HttpServer", "ListenFlags", "MakeApp", "open_sockets"]

logger = logging.getLogger(__name__)

# Clients that find it full try again after a second.
BACKLOG = 4096
# For model files, logs, processes of models, gRPC.
DESCRIPTORS_FOR_OTHERS = 256
# How long finished answers may still be sent after everything else has stopped.
LAST_WRITE_TIMEOUT_S = 1.0


ADVICE = {
    errno.EADDRINUSE: "; stop what listens there, or choose another {flags.port}",
    errno.EACCES: "; ports below 1024 need more rights, so choose a higher {flags.port}",
    errno.EADDRNOTAVAIL: "; {flags.address} takes an address of this machine, or 0.0.0.0",
}


MakeApp = Callable[[HttpSettings], web.Application]


class ListenFlags(NamedTuple):
    """The flags that error messages name."""

    port: str
    address: str


REST_FLAGS = ListenFlags("--rest_port", "--rest_bind_address")


class _NoSuchAddressError(ConfigError):
    """The address is not one of this machine."""


def open_sockets(
    addresses: Sequence[str], port: int, flags: ListenFlags = REST_FLAGS
) -> list[socket.socket]:
    """Bind every address to the same port; 0 takes a free one. Raises ConfigError."""
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            for opened in _open_address(address, port, flags):
                sockets.append(opened)
                port = opened.getsockname()[1]
    except ConfigError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _open_address(address: str, port: int, flags: ListenFlags) -> Iterator[socket.socket]:
    """Listen on all addresses of a host name; yields each socket once it is open."""
    missing: _NoSuchAddressError | None = None
    num_open = 0
    for family, resolved in _resolve(address, port, flags):
        try:
            opened = _listen(family, resolved, port, flags)
        except _NoSuchAddressError as error:
            # In many containers localhost resolves to ::1 as well, which they do not have.
            missing = error
            continue
        num_open += 1
        port = opened.getsockname()[1]
        yield opened
    if missing is not None and not num_open:
        raise missing


def _resolve(address: str, port: int, flags: ListenFlags) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{flags.address} {address!r}: not an address of a host") from error
    return [(family, str(resolved[0])) for family, _, _, _, resolved in found]


def _listen(
    family: socket.AddressFamily, address: str, port: int, flags: ListenFlags
) -> socket.socket:
    opened = None
    try:
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Else :: would take the port of 0.0.0.0 as well.
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((address, port))
        # Now, not when serving starts: only `listen` finds another server on the same port.
        opened.listen(BACKLOG)
    except OSError as error:
        if opened is not None:
            opened.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        reason += ADVICE.get(error.errno or 0, "").format(flags=flags)
        is_missing = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
        error_class = _NoSuchAddressError if is_missing else ConfigError
        raise error_class(f"cannot listen on {address} port {port}: {reason}") from error
    return opened


def _within_descriptors(settings: ConnectionSettings) -> ConnectionSettings:
    """The settings with no more connections than this process may have open files."""
    limit = raise_limit()
    most = max(limit - DESCRIPTORS_FOR_OTHERS, limit // 2)
    if settings.max_connections <= most:
        return settings
    logger.warning(
        "At most %d connections instead of --max_connections %d: this process may have %d files "
        "open (ulimit -n)",
        most,
        settings.max_connections,
        limit,
    )
    return replace(settings, max_connections=most)


class HttpServer:
    """Serves an application on open sockets."""

    def __init__(
        self,
        app: web.Application,
        sockets: Sequence[socket.socket],
        settings: HttpSettings | None = None,
    ) -> None:
        self._sockets = sockets
        self._acceptors: list[Acceptor] = []
        settings = settings or HttpSettings()
        self._tls = None if settings.tls is None else ServerContext(settings.tls)
        self._pool = ConnectionPool(
            _within_descriptors(settings.connections), settings.trusted_proxies
        )
        self._runner = web.AppRunner(
            app,
            # Cancel the request of a client that disconnects; aiohttp's default is to let it run.
            handler_cancellation=True,
            shutdown_timeout=LAST_WRITE_TIMEOUT_S,
        )

    async def start(self) -> None:
        """Start to answer requests."""
        await self._runner.setup()
        self._pool.start()
        for opened in self._sockets:
            opened.setblocking(False)
            acceptor = Acceptor(opened, self._pool, self._make_connection, self._tls)
            acceptor.start()
            self._acceptors.append(acceptor)

    async def stop(self) -> None:
        """Stop listening and cancel the requests that still run."""
        for acceptor in self._acceptors:
            acceptor.close()
        await self._runner.cleanup()
        self._pool.stop()

    def _make_connection(self) -> Connection:
        server = self._runner.server
        assert server is not None
        pool = self._pool
        return Connection(server, pool.settings, pool.discard, pool.memory, pool.pacer)
