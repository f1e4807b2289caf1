"""The bytes of a request."""

from aiohttp import HttpVersion11, web
from aiohttp.web_protocol import RequestPayloadError

from server.errors import InvalidRequestError
from server.protocol.json_body import parse_json_object

__all__ = ["meet_expectation", "read_body", "read_json", "read_plain_body"]


async def meet_expectation(request: web.Request) -> None:
    """Ask for the body where the client waits for that; other expectations mean nothing here.

    RFC 9110, 10.1.1. aiohttp's own handler answers them with 417, and with 500 where it cannot
    write the text of its error.
    """
    expectation = request.headers.get("Expect", "").lower()
    if request.version == HttpVersion11 and expectation == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # aiohttp takes a request of which something was written for one that is answered.
        request.writer.output_size = 0


async def read_body(request: web.Request) -> bytes:
    """The whole body as it was sent. Raises InvalidRequestError where HTTP itself is broken."""
    try:
        return await request.read()
    except RequestPayloadError as error:
        raise InvalidRequestError("the body is not what its HTTP headers say") from error


async def read_plain_body(request: web.Request) -> bytes:
    """The whole body. Raises InvalidRequestError where it is compressed."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise InvalidRequestError(
            f"Content-Encoding {encoding!r} is not supported; send the body as it is"
        )
    return await read_body(request)


async def read_json(request: web.Request) -> dict[str, object]:
    """The JSON object that the body is; what Content-Type says does not matter."""
    return parse_json_object(await read_plain_body(request))
