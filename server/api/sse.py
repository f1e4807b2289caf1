"""Server-sent events."""

from aiohttp import web

from server.api.errors import ClientGoneError

__all__ = ["EventStream"]

HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}


class EventStream:
    """The events of one answer.

    The status line leaves with the first event, so whatever fails before it is an answer with a
    status of its own.
    """

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.response = web.StreamResponse(headers=HEADERS)

    @property
    def has_started(self) -> bool:
        """Whether the status line was sent."""
        return self.response.prepared

    async def send(self, events: bytes) -> None:
        """Send events, once the client has room for it. Raises ClientGoneError."""
        try:
            if not self.response.prepared:
                await self.response.prepare(self._request)
            await self.response.write(events)
        except ConnectionError as error:
            raise ClientGoneError from error
