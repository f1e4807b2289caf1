"""The bytes of a request."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import HttpVersion11, web
from aiohttp.web_protocol import RequestPayloadError

from server.api.connections.connection import Connection
from server.api.off_event_loop import off_event_loop
from server.errors import InvalidRequestError
from server.protocol.json_body import SMALL_BODY_BYTES, check_num_values, parse_json_object

__all__ = [
    "BODY_TIMEOUT_S",
    "BROKEN_FRAMING",
    "BodyTimer",
    "meet_expectation",
    "read_body",
    "read_call",
    "read_plain_body",
    "refuse_compression",
]

T = TypeVar("T")

BROKEN_FRAMING = "the body is not what its HTTP headers say"
# A slower client would hold its connection, and the memory of what it has sent, for too long.
MIN_BYTES_PER_S = 500

BODY_TIMEOUT_S = web.AppKey("body_timeout_s", float)
"""Where an application has the time limit of bodies; 0 means no limit."""


async def meet_expectation(request: web.Request) -> None:
    """Send 100 Continue to a client that waits for it; ignore other expectations.

    RFC 9110, 10.1.1. aiohttp's own handler answers them with 417, and with 500 where it cannot
    write the text of its error.
    """
    expectation = request.headers.get("Expect", "").lower()
    if request.version == HttpVersion11 and expectation == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # Else aiohttp believes that the request was answered.
        request.writer.output_size = 0


class BodyTimer:
    """The time limit for reading the body of a request: that of the application, and a second more
    for every MIN_BYTES_PER_S bytes that have come.
    """

    def __init__(self, request: web.Request) -> None:
        self._content = request.content
        self._timeout_s = request.app[BODY_TIMEOUT_S]
        self._start_s = asyncio.get_running_loop().time()
        # Tests may have connections of their own.
        connection = request.protocol
        self._held = connection.body if isinstance(connection, Connection) else None

    async def limit(self, read: Callable[[], Awaitable[bytes]]) -> bytes:
        """Read a part of the body. Raises HTTPRequestTimeout and QueueFullError."""
        if self._held is not None:
            self._held.grow(self._content.total_bytes)
        if not self._timeout_s or self._content.is_eof():
            return await read()
        time_s = self._timeout_s + self._content.total_bytes / MIN_BYTES_PER_S
        try:
            async with asyncio.timeout_at(self._start_s + time_s):
                return await read()
        except TimeoutError as error:
            limit = f"--body_timeout_s {self._timeout_s:g}"
            problem = f"the body did not arrive in time: {limit}, and a second for every 500 bytes"
            raise web.HTTPRequestTimeout(text=problem) from error


async def read_body(request: web.Request) -> bytes:
    """The whole body as it was sent.

    Raises InvalidRequestError if its framing is broken, and HTTPRequestTimeout if it takes too
    long. Raises HTTPRequestEntityTooLarge if it is larger than the application's limit, and
    QueueFullError if the bodies of all requests take too much memory.
    """
    try:
        if request.content.is_eof() and request.content.total_bytes <= SMALL_BODY_BYTES:
            return await request.read()
        return await _read_slowly(request)
    except RequestPayloadError as error:
        raise InvalidRequestError(BROKEN_FRAMING) from error


async def _read_slowly(request: web.Request) -> bytes:
    """Read a body that is large or has not arrived yet."""
    limit = request.client_max_size
    if limit < (request.content_length or 0):
        raise web.HTTPRequestEntityTooLarge(limit, request.content_length or 0)
    timer = BodyTimer(request)
    chunks = []
    while chunk := await timer.limit(request.content.readany):
        chunks.append(chunk)
        if request.content.total_bytes > limit:
            raise web.HTTPRequestEntityTooLarge(limit, request.content.total_bytes)
    return b"".join(chunks)


async def read_plain_body(request: web.Request) -> bytes:
    """The whole body. Raises InvalidRequestError if it is compressed."""
    refuse_compression(request)
    return await read_body(request)


def refuse_compression(request: web.Request) -> None:
    """Raise InvalidRequestError for a body that is compressed."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise InvalidRequestError(
            f"Content-Encoding {encoding!r} is not supported; send the body as it is"
        )


async def read_call(request: web.Request, parse: Callable[[dict[str, Any]], T]) -> T:
    """What `parse` makes of the body, a JSON object, whatever Content-Type says.

    Raises InvalidRequestError.
    """
    body = await read_plain_body(request)

    def read() -> T:
        fields = parse_json_object(body)
        if len(body) > SMALL_BODY_BYTES:
            check_num_values(fields)
        return parse(fields)

    return await off_event_loop(read, len(body))
