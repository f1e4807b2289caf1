"""The bytes of a request."""

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from server.api.protocol.json_body import parse_json_object
from server.errors import InvalidRequestError

__all__ = ["read_body", "read_json"]


async def read_body(request: web.Request) -> bytes:
    """The whole body as it was sent. Raises InvalidRequestError where HTTP itself is broken."""
    try:
        return await request.read()
    except RequestPayloadError as error:
        raise InvalidRequestError("the body is not what its HTTP headers say") from error


async def read_json(request: web.Request) -> dict[str, object]:
    """The JSON object that the body is; what Content-Type says does not matter."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise InvalidRequestError(
            f"Content-Encoding {encoding!r} is not supported; send plain JSON"
        )
    return parse_json_object(await read_body(request))
