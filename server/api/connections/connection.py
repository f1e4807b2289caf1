"""One client's connection: aiohttp's handler, with time limits and our form of an error.

The time limits are those that no handler of a request can apply: headers that do not come, a client
that does not read. aiohttp has none for them.
"""

import asyncio
import socket
import time
from collections.abc import Callable

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError

from server.api.connections.body_memory import SMALL_BYTES, BodyMemory, HeldBytes
from server.api.connections.pacer import Pacer, Urgency
from server.api.connections.refusal import refusal
from server.api.connections.settings import ConnectionSettings
from server.api.errors import ApiError
from server.api.middleware.http_log import protocol_logger
from server.protocol.json_text import json_bytes

__all__ = ["Connection"]

MAX_REASON = 200
# A client that reads must take so many bytes within each write timeout: 270 a second by default.
MIN_BYTES_READ = 2**14
# aiohttp's own limit for idle connections, which cannot be turned off.
NO_TIMEOUT_S = 1e6
# A half-closed client is first asked after this time whether it is there, then twice as late.
PROBE_AFTER_S = 1.0
# What a connection may hold before its turn: as much as a body that costs nothing.
MAX_READ_BYTES = SMALL_BYTES
POLLS = (b"GET ", b"HEAD ")
STILL_THERE = b"HTTP/1.1 100 Continue\r\n\r\n"

Phase = tuple[str, int]


class Connection(web.RequestHandler):
    """Answers what is no HTTP request with OpenAI's error object: a header that is too long, say.

    Such a request never reaches a middleware. `on_lost` is called when the connection has ended.
    `body` is what the body of the current request takes. `client` is who has it, for the pacer:
    what arrives while others have their turn is held.
    """

    __slots__ = (
        "_bytes_left",
        "_half_closed_s",
        "_held",
        "_incomplete",
        "_next_probe_s",
        "_on_lost",
        "_pacer",
        "_phase",
        "_settings",
        "_since_s",
        "_socket_transport",
        "body",
        "client",
    )

    def __init__(
        self,
        server: web.Server,
        settings: ConnectionSettings,
        on_lost: Callable[["Connection"], None],
        memory: BodyMemory,
        pacer: Pacer,
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=NO_TIMEOUT_S,
            # Else aiohttp decompresses a body to any size.
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type]  # aiohttp takes None: no access log
            logger=protocol_logger,
            max_field_size=settings.max_header_bytes,
        )
        self._settings = settings
        self._on_lost = on_lost
        self._pacer = pacer
        self.client = ""
        self._held = b""
        self.body = HeldBytes(memory)
        # aiohttp forgets its transport when it begins to close it.
        self._socket_transport: asyncio.Transport | None = None
        self._phase: Phase = ("", 0)
        self._since_s = time.monotonic()
        self._bytes_left = 0
        # The number of the request whose headers have begun and not ended.
        self._incomplete = 0
        self._half_closed_s: float | None = None
        self._next_probe_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._socket_transport = transport
        # asyncio's own is four times as much. An encrypted connection has no such attribute.
        if hasattr(transport, "max_size"):
            transport.max_size = MAX_READ_BYTES
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._held = b""
        super().connection_lost(exc)
        self.body.release()
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        # aiohttp calls this without data to go on with what it has.
        if not data or (not self._held and self._pacer.take()):
            self._read(data)
        else:
            self._hold(data)

    def _hold(self, data: bytes) -> None:
        if not self._held:
            self._pacer.wait(self, self._urgency_of(data))
        self._held += data
        self._stop_reading()

    def _stop_reading(self) -> None:
        """Leave the rest with the system, and the end of the data: no memory quota knows of it."""
        if self._socket_transport is not None:
            self._socket_transport.pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Called when somebody has read of the body, which may be while more of it is held."""
        super().resume_reading(resume_parser)
        if self._held:
            self._stop_reading()

    def _urgency_of(self, data: bytes) -> Urgency:
        if self.is_waiting:
            return Urgency.POLL if data.startswith(POLLS) else Urgency.NEW
        return Urgency.BODY

    def read_held(self) -> None:
        """Read what was received before the turn of this connection came."""
        transport, held = self._socket_transport, self._held
        if transport is None or not held:
            return
        self._held = b""
        try:
            self._read(held)
        except BaseException:
            transport.abort()
            raise
        if not (self._reading_paused or self._buffer_paused):
            transport.resume_reading()

    def _read(self, data: bytes) -> None:
        super().data_received(data)
        if data and self.is_waiting:
            self._incomplete = self._request_count + 1

    @property
    def is_waiting(self) -> bool:
        """Whether there is no request: it is to come, or its headers are not complete."""
        return self._waiter is not None and not self._waiter.done() and not self._held

    def is_idle(self) -> bool:
        """Whether it has been waiting for a while, so that closing it does little harm."""
        return self.is_waiting and self._phase == self._waiting_phase()

    def check(self, now_s: float) -> None:
        """Close the connection if its time is up; the server calls this again and again."""
        transport = self._socket_transport
        if transport is None:
            return
        phase = self._current_phase(transport)
        if phase != self._phase:
            self._phase, self._since_s = phase, now_s
            self._bytes_left = transport.get_write_buffer_size()
        elif self._is_overdue(transport, now_s):
            self._give_up(transport)
        if self._half_closed_s is not None:
            self._check_half_closed(transport, now_s, self._half_closed_s)

    def _current_phase(self, transport: asyncio.Transport) -> Phase:
        if transport.is_closing():
            return "closing", 0
        if self.writing_paused:
            return "writing", 0
        return self._waiting_phase() if self.is_waiting else ("working", 0)

    def _waiting_phase(self) -> Phase:
        # The first request has no more time than its headers.
        has_begun = self._request_count in (0, self._incomplete - 1)
        return "headers" if has_begun else "idle", self._request_count

    def _is_overdue(self, transport: asyncio.Transport, now_s: float) -> bool:
        settings = self._settings
        match self._phase[0]:
            case "headers":
                limit_s = settings.header_timeout_s
            case "idle":
                limit_s = settings.timeout_keep_alive_s
            case "closing" | "writing":
                limit_s = settings.write_timeout_s
            case _:
                return False
        if not limit_s or now_s - self._since_s < limit_s:
            return False
        bytes_left = transport.get_write_buffer_size()
        if self._phase[0] in {"closing", "writing"} and bytes_left:
            num_read = self._bytes_left - bytes_left
            self._since_s, self._bytes_left = now_s, bytes_left
            return num_read < MIN_BYTES_READ
        return True

    def _give_up(self, transport: asyncio.Transport) -> None:
        if self._phase[0] == "headers" and self._incomplete:
            problem = f"the headers did not arrive within {self._settings.header_timeout_s:g} s"
            transport.write(refusal(ApiError(408, problem, code="request_timeout")))
            self.force_close()
        elif self.is_waiting:
            self.force_close()
        else:
            protocol_logger.debug("closed a connection whose client does not read")
            transport.abort()

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio's own type
        """Keep the connection of a client that has sent all and waits; others are closed."""
        transport = self._socket_transport
        if transport is None or transport.get_extra_info("sslcontext") is not None:
            # asyncio closes an encrypted connection, whatever is returned here.
            return None
        if self.is_waiting or self._parser is None:
            return None
        try:
            self._parser.feed_eof()
        except HttpProcessingError:
            # The body is not complete.
            return None
        self._half_closed_s = time.monotonic()
        self._next_probe_s = self._half_closed_s + PROBE_AFTER_S
        return True

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        finished = await super().finish_response(request, resp, start_time)
        self.body.release()
        if self._half_closed_s is not None and not self._messages:
            self.close()
        return finished

    def _check_half_closed(
        self, transport: asyncio.Transport, now_s: float, half_closed_s: float
    ) -> None:
        """Find out whether the client has left.

        A client that closes its socket looks like one that only closes its sending side, until
        something is sent to it: then its system answers with a reset. An interim answer is what
        HTTP allows to send before the answer (RFC 9110, 15.2).
        """
        opened = transport.get_extra_info("socket")
        if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            transport.abort()
            return
        request = self._current_request
        if now_s >= self._next_probe_s and request is not None:
            self._next_probe_s = now_s + (now_s - half_closed_s)
            if request.version >= HttpVersion11 and not request.writer.output_size:
                transport.write(STILL_THERE)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        super().handle_error(request, status, exc, message)
        response = _BareResponse(
            body=json_bytes({"error": _describe(status, message).as_dict()}),
            status=status,
            content_type="application/json",
        )
        response.force_close()
        return response


class _BareResponse(web.Response):
    """An answer without aiohttp's Server header; the application's signals do not see it."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


def _describe(status: int, message: str | None) -> ApiError:
    if status >= 500:
        problem = "internal error; the server's log has the details"
        return ApiError(status, problem, "server_error")
    reason = " ".join((message or "").split())[:MAX_REASON]
    return ApiError(status, f"broken HTTP: {reason}", code="broken_http")
