"""Connections to a Unix socket whose process may be too busy to accept them at once."""

import asyncio
import socket
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.client_exceptions import UnixClientConnectorError

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

__all__ = ["PatientUnixConnector"]

RETRY_INTERVAL_S = 0.02
# The front ends a process that hangs; then its socket refuses connections.
CONNECT_TIMEOUT_S = 60.0


class PatientUnixConnector(aiohttp.UnixConnector):
    """Waits while the queue of connections that are not accepted yet is full.

    `connect` fails with EAGAIN then and nothing tells when there is room (unix(7)). asyncio takes
    such a socket for connected. A socket whose process has ended is refused at once.
    """

    async def _create_connection(
        self,
        req: "ClientRequest",
        traces: list["Trace"],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's name
    ) -> "ResponseHandler":
        try:
            opened = await self._connect(timeout.sock_connect or CONNECT_TIMEOUT_S)
            _, protocol = await self._loop.create_unix_connection(self._factory, sock=opened)
        except OSError as error:
            raise UnixClientConnectorError(self.path, req.connection_key, error) from error
        return protocol

    async def _connect(self, timeout_s: float) -> socket.socket:
        """A connected socket. Raises OSError."""
        opened = socket.socket(socket.AF_UNIX)
        try:
            opened.setblocking(False)
            end_s = self._loop.time() + timeout_s
            while True:
                try:
                    opened.connect(self.path)
                except BlockingIOError:
                    if self._loop.time() > end_s:
                        raise
                    await asyncio.sleep(RETRY_INTERVAL_S)
                else:
                    return opened
        except BaseException:
            opened.close()
            raise
