"""Server-sent events."""

from aiohttp import web

from server.api.errors import ClientGoneError, api_error
from server.api.protocol.answer import json_bytes

__all__ = ["EventStream"]

DONE = b"data: [DONE]\n\n"
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}


class EventStream:
    """The events of one answer.

    The status line leaves with the first event, so whatever fails before it is an answer with a
    status of its own.
    """

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse(headers=HEADERS)

    @property
    def has_started(self) -> bool:
        """Whether the status line was sent."""
        return self._response.prepared

    async def send(self, event: bytes) -> None:
        """Send an event, once the client has room for it. Raises ClientGoneError."""
        try:
            if not self._response.prepared:
                await self._response.prepare(self._request)
            await self._response.write(event)
        except ConnectionError as error:
            raise ClientGoneError from error

    async def finish(self) -> web.StreamResponse:
        """Mark the answer as complete."""
        await self.send(DONE)
        return self._response

    async def fail(self, error: Exception) -> web.StreamResponse:
        """End with an error event, and without [DONE]: that would say that all is well."""
        await self.send(b"data: " + json_bytes(api_error(error).as_dict()) + b"\n\n")
        return self._response
