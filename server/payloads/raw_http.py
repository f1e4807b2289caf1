"""HTTP as a graph sees it that handles requests itself."""

from collections.abc import Mapping
from dataclasses import dataclass

from server.payloads.client_request import ClientRequest

__all__ = ["HttpRequestPayload", "HttpResponsePayload"]


@dataclass(frozen=True, slots=True)
class HttpRequestPayload(ClientRequest):
    """An HTTP request for a graph that handles HTTP itself. Names in `headers` are lower-case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: str = ""


@dataclass(frozen=True, slots=True)
class HttpResponsePayload:
    """The answer of a graph that handles HTTP itself, or a piece of it.

    The first piece sets `status` and `content_type`; all bodies are written as they come. Raises
    TypeError or ValueError, in the node that makes it, for what HTTP cannot carry.
    """

    body: bytes
    status: int = 200
    content_type: str = "application/json"

    def __post_init__(self) -> None:
        if not isinstance(self.body, bytes | bytearray | memoryview):
            raise TypeError(f"body is a {type(self.body).__name__}; it must be bytes")
        # After a status below 200 a client goes on waiting for the answer.
        if not (isinstance(self.status, int) and 200 <= self.status <= 599):
            raise ValueError(f"status is {self.status!r}; it must be an integer from 200 to 599")
        if not (isinstance(self.content_type, str) and self.content_type.isprintable()):
            raise ValueError(f"content_type is {self.content_type!r}; it must be printable text")
