"""The answer to a connection that is refused before there is a request on it."""

from http import HTTPStatus

from server.api.errors import ApiError
from server.protocol.json_text import json_bytes

__all__ = ["refusal"]


def refusal(error: ApiError) -> bytes:
    """A whole HTTP answer."""
    body = json_bytes({"error": error.as_dict()})
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **error.headers,
    }
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
