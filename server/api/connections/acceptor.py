"""Accepts the connections of one listening socket.

asyncio's own servers log a traceback for every attempt to accept when there are no file
descriptors left, and cannot refuse a connection before they have spent memory on it.
"""

import asyncio
import errno
import logging
import socket
import ssl
import time
from collections.abc import Callable

from server.api.connections.connection import Connection
from server.api.connections.connection_pool import ConnectionPool
from server.api.connections.refusal import refusal
from server.api.errors import ApiError
from server.host.metrics import counter

__all__ = ["Acceptor"]

logger = logging.getLogger(__name__)

REFUSED = counter("http:connections_refused", "Connections that were not accepted", "reason")

# Others of the event loop have their turn after so many: two or three milliseconds.
ACCEPTS_AT_ONCE = 48
RETRY_S = 0.5
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# A refused client has so long to read why; closing at once would take the answer from it.
REFUSAL_TIME_S = 1.0
MAX_REFUSALS_AT_ONCE = 64
WARNING_INTERVAL_S = 60.0


class Acceptor:
    """Hands the connections of a listening, non-blocking socket to new `Connection`s.

    With `tls` they are encrypted.
    """

    def __init__(
        self,
        listener: socket.socket,
        pool: ConnectionPool,
        make_connection: Callable[[], Connection],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._listener = listener
        self._pool = pool
        self._make_connection = make_connection
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[None]] = set()
        self._refused: set[socket.socket] = set()
        self._next_warnings_s: dict[str, float] = {}
        self._retry: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to accept."""
        self._loop.add_reader(self._listener, self._accept_some)

    def close(self) -> None:
        """Stop accepting and close the socket."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for task in self._starting:
            task.cancel()
        for refused in self._refused:
            refused.close()

    def _accept_some(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                opened, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            host = str(address[0]) if address else ""
            problem = self._pool.find_refusal(host)
            if problem is None:
                self._connect(opened, host)
            else:
                self._refuse(opened, problem)
        self._pool.pacer.is_accepting = True

    def _pause(self, error: OSError) -> None:
        """Accept nothing for a moment: the socket stays ready, so the loop would spin."""
        num_closed = self._pool.close_idle() if error.errno in OUT_OF_RESOURCES else 0
        self._warn(
            "Cannot accept connections: %s. %d are open, %d idle ones were closed; trying again",
            error.strerror,
            len(self._pool),
            num_closed,
        )
        REFUSED.labels("system").inc()
        self._loop.remove_reader(self._listener)
        self._retry = self._loop.call_later(RETRY_S, self.start)

    def _connect(self, opened: socket.socket, host: str) -> None:
        opened.setblocking(False)
        connection = self._make_connection()
        self._pool.add(connection, host)
        task = self._loop.create_task(self._hand_over(opened, connection))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _hand_over(self, opened: socket.socket, connection: Connection) -> None:
        timeout_s = self._pool.settings.header_timeout_s or None
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection,
                opened,
                ssl=self._tls,
                ssl_handshake_timeout=timeout_s if self._tls else None,
            )
        except BaseException as error:
            self._pool.discard(connection)
            opened.close()
            if not isinstance(error, OSError):
                raise
            logger.debug("a connection ended before it began: %s", error)

    def _refuse(self, opened: socket.socket, error: ApiError) -> None:
        REFUSED.labels(error.code or "").inc()
        self._warn("Refused a connection: %s", error.message)
        if self._tls is not None or len(self._refused) >= MAX_REFUSALS_AT_ONCE:
            opened.close()
            return
        try:
            opened.setblocking(False)
            opened.send(refusal(error))
            opened.shutdown(socket.SHUT_WR)
        except OSError:
            # The client has left, and there is nobody to tell.
            opened.close()
            return
        self._refused.add(opened)
        self._loop.call_later(REFUSAL_TIME_S, self._end_refusal, opened)

    def _end_refusal(self, opened: socket.socket) -> None:
        self._refused.discard(opened)
        opened.close()

    def _warn(self, message: str, *arguments: object) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_warnings_s.get(message, 0.0):
            self._next_warnings_s[message] = now_s + WARNING_INTERVAL_S
            logger.warning(f"{message}. This is said once in {WARNING_INTERVAL_S:g} s", *arguments)
