"""Passes a request on to a replica, and its answer back."""

import io
import logging
from collections.abc import Awaitable, Iterable, Mapping

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from server.api.body import read_body
from server.api.errors import ApiError, ClientGoneError, error_response
from server.api.replicas.backend import Backend, Work
from server.api.replicas.event_relay import EventBoundary, failure_event
from server.api.replicas.front_facts import FRONT_HEADERS, facts_headers
from server.api.replicas.prompt_outline import PromptOutline, outline_of
from server.api.replicas.replica_state import STATE_HEADER, ReplicaState
from server.api.replicas.routing import Router, note_prompt, num_new_tokens
from server.api.request_facts import REQUEST_FACTS
from server.api.sse import EVENT_STREAM_TYPE
from server.host.metrics import counter

__all__ = ["Forwarder"]

logger = logging.getLogger(__name__)

REQUESTS = counter("front:requests", "Requests that were passed on to a replica", "replica")
RETRIES = counter("front:retries", "Requests that a second replica got, as the first one ended")
LOST = counter("front:lost_answers", "Answers that broke off, as their replica ended")

# Says which replica answered.
REPLICA_HEADER = "X-Replica"
# Of one connection, not of the message (RFC 9110, 7.6.1). aiohttp makes its own.
HOP_HEADERS = frozenset(
    {
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# The body is passed on as a whole, and its length is known.
NOT_PASSED_ON = HOP_HEADERS | FRONT_HEADERS | {"content-length", "x-request-id"}
NOT_PASSED_BACK = HOP_HEADERS | {STATE_HEADER.lower()}
NO_AUTOMATIC_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class _LostError(Exception):
    """The replica ended before it had sent anything."""


class Forwarder:
    """Passes requests on. `secret` tells replicas that the front asks."""

    def __init__(self, router: Router, secret: str) -> None:
        self._router = router
        self._secret = secret

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """The answer of a replica. One that ends before it answers is replaced by another, once.

        Raises ModelNotReadyError if no replica answers.
        """
        facts = request[REQUEST_FACTS]
        body = await read_body(request) if request.can_read_body else b""
        outline = await outline_of(request.path, body, facts.cache_salt)
        if facts.slot is not None:
            facts.slot.resize(outline.num_requests)
        backend = self._router.choose(outline)
        try:
            return await self._ask(backend, request, body, outline)
        except _LostError as error:
            logger.warning("%s ended before it answered a request: %s", backend.name, error)
        RETRIES.inc()
        other = self._router.choose(outline, without=backend)
        try:
            return await self._ask(other, request, body, outline)
        except _LostError:
            problem = f"{backend.name} and then {other.name} ended while they worked on this"
            lost = ApiError(502, problem, "server_error", code="replica_lost")
            return error_response(request, lost)

    async def _ask(
        self, backend: Backend, request: web.Request, body: bytes, outline: PromptOutline
    ) -> web.StreamResponse:
        REQUESTS.labels(str(backend.number)).inc()
        num_tokens = num_new_tokens(backend, outline)
        note_prompt(backend, outline)
        facts = request[REQUEST_FACTS]
        headers = _kept(request.headers, NOT_PASSED_ON)
        headers.update(facts_headers(self._secret, facts))
        with backend.hold(num_tokens) as work:
            relay = _Relay(request, backend, work)
            try:
                async with backend.session.request(
                    request.method,
                    _url_of(request),
                    headers=headers,
                    data=io.BytesIO(body) if body else None,
                    allow_redirects=False,
                    skip_auto_headers=NO_AUTOMATIC_HEADERS,
                ) as answer:
                    if answer.status == 503 and _is_stopping(answer):
                        raise _LostError("it is stopping")
                    facts.is_answered_by_replica = True
                    return await relay.run(answer)
            except (aiohttp.ClientError, ConnectionError) as error:
                facts.is_answered_by_replica = False
                if relay.response is None:
                    raise _LostError(str(error) or type(error).__name__) from error
                logger.warning("%s ended in the middle of an answer: %s", backend.name, error)
                LOST.inc()
                return await relay.fail(f"{backend.name} ended while it worked on this request")


class _Relay:
    """An answer on its way to the client; `response` is None until the client gets some of it."""

    def __init__(self, request: web.Request, backend: Backend, work: Work) -> None:
        self._request = request
        self._number = str(backend.number)
        self._work = work
        self._events: EventBoundary | None = None
        self.response: web.StreamResponse | None = None

    async def run(self, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass the answer on. Raises ClientError if it breaks off, or ClientGoneError."""
        if answer.content_type == EVENT_STREAM_TYPE:
            self._events = EventBoundary()
        # Before anything is sent to the client: another replica may still answer.
        data = await answer.content.readany()
        self._work.num_tokens = 0
        self.response = web.StreamResponse(
            status=answer.status,
            reason=answer.reason,
            headers=_kept(answer.headers, NOT_PASSED_BACK),
        )
        self.response.headers[REPLICA_HEADER] = self._number
        await _sending(self.response.prepare(self._request))
        while data:
            if self._events is not None:
                self._events.note(data)
            await self._write(data)
            data = await answer.content.readany()
        return self.response

    async def fail(self, problem: str) -> web.StreamResponse:
        """End an answer that broke off, so that the client notices."""
        assert self.response is not None
        error = ApiError(502, problem, "server_error", code="replica_lost")
        error.note(self._request)
        event = None
        if self._events is not None and self._events.is_at_end:
            event = failure_event(self._request.path, error.as_dict())
        if event is not None:
            await self._write(event)
        elif self._request.transport is not None:
            # Nothing else tells the client that the body is incomplete.
            self._request.transport.abort()
        return self.response

    async def _write(self, data: bytes) -> None:
        assert self.response is not None
        await _sending(self.response.write(data))


def _is_stopping(answer: aiohttp.ClientResponse) -> bool:
    return answer.headers.get(STATE_HEADER) == ReplicaState.STOPPING


async def _sending(sending: Awaitable[object]) -> None:
    """Wait until something is sent. Raises ClientGoneError."""
    try:
        await sending
    except ConnectionError as error:
        raise ClientGoneError from error


def _kept(headers: Mapping[str, str], removed: Iterable[str]) -> CIMultiDict[str]:
    kept: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        if name.lower() not in removed:
            kept.add(name, value)
    return kept


def _url_of(request: web.Request) -> URL:
    """The same path and query at the replica, as they were sent."""
    url = request.rel_url
    query = f"?{url.raw_query_string}" if url.raw_query_string else ""
    return URL(f"http://replica{url.raw_path}{query}", encoded=True)
