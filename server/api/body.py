"""The bytes of a request."""

from aiohttp import HttpVersion11, web
from aiohttp.web_protocol import RequestPayloadError

from server.errors import InvalidRequestError
from server.protocol.json_body import parse_json_object

__all__ = [
    "BROKEN_FRAMING",
    "meet_expectation",
    "read_body",
    "read_json",
    "read_plain_body",
    "refuse_compression",
]

BROKEN_FRAMING = "the body is not what its HTTP headers say"


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


async def read_body(request: web.Request) -> bytes:
    """The whole body as it was sent. Raises InvalidRequestError if its framing is broken."""
    try:
        return await request.read()
    except RequestPayloadError as error:
        raise InvalidRequestError(BROKEN_FRAMING) from error


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


async def read_json(request: web.Request) -> dict[str, object]:
    """The body as a JSON object, whatever Content-Type says."""
    return parse_json_object(await read_plain_body(request))
