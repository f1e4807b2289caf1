"""Server-sent events."""

import weakref
from collections.abc import Callable
from typing import Any

from aiohttp import web

from server.api.errors import ApiError, ClientGoneError

__all__ = ["EVENT_STREAM", "EVENT_STREAM_TYPE", "EventStream"]


EVENT_STREAM_TYPE = "text/event-stream"
HEADERS = {"Content-Type": EVENT_STREAM_TYPE, "Cache-Control": "no-cache"}


class EventStream:
    """The events of one answer.

    The status line is sent with the first event, so an error before that can still be answered with
    an error status. `render_failure` makes the event that ends a stream after an error.
    """

    def __init__(
        self, request: web.Request, render_failure: Callable[[dict[str, Any]], bytes]
    ) -> None:
        request[EVENT_STREAM] = self
        # Both would else wait for a full collection of garbage.
        self._find_request = weakref.ref(request)
        self._render_failure = render_failure
        self.response = web.StreamResponse(headers=HEADERS)

    @property
    def _request(self) -> web.Request:
        request = self._find_request()
        assert request is not None, "its handler has it"
        return request

    @property
    def has_started(self) -> bool:
        """Whether the status line was sent."""
        return self.response.prepared

    async def send(self, events: bytes) -> None:
        """Send events; waits while the client reads slowly. Raises ClientGoneError."""
        try:
            if not self.response.prepared:
                await self.response.prepare(self._request)
            await self.response.write(events)
        except ConnectionError as error:
            raise ClientGoneError from error

    async def fail(self, error: ApiError) -> None:
        """Send the event of an error, the last one. Raises ClientGoneError."""
        error.note(self._request)
        await self.send(self._render_failure(error.as_dict()))


EVENT_STREAM = web.RequestKey("event_stream", EventStream)
"""Where a request has its stream."""
