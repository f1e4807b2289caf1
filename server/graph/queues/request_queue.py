"""Counts the requests and tokens that wait for a model, and refuses what is too much."""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from server.errors import QueueFullError
from server.graph.queues.start_rate import StartRate

__all__ = ["UNCOUNTED", "QueueDefaults", "QueueLimits", "RequestQueue", "Ticket"]

MIN_RETRY_S, MAX_RETRY_S = 1, 60
# Nothing has started yet, so that no rate is known.
UNKNOWN_RETRY_S = 5


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """The most requests and tokens that may wait for one model; 0 is no limit."""

    max_num_queued_requests: int = 0
    max_num_queued_tokens: int = 0


@dataclass(frozen=True, slots=True)
class QueueDefaults:
    """What a server says about the queues of all models; None leaves it to the node.

    Without a server, where `is_server` is False, a queue has the limits that its options set.
    """

    is_server: bool = False
    max_num_queued_requests: int | None = None
    max_num_queued_tokens: int | None = None

    def queue(
        self, own: QueueLimits, num_requests: int | None, num_tokens: int | None = None
    ) -> "RequestQueue":
        """The queue of a node: with its options, or else the server's, or else its own limits."""
        default = own if self.is_server else QueueLimits()
        return RequestQueue(
            QueueLimits(
                _first(num_requests, self.max_num_queued_requests, default.max_num_queued_requests),
                _first(num_tokens, self.max_num_queued_tokens, default.max_num_queued_tokens),
            )
        )


class Ticket:
    """A caller's place in a queue; this one is for callers that nobody counts. Thread-safe."""

    client = ""

    def add_tokens(self, num_tokens: int) -> None:
        """Say how many tokens the requests have. Raises QueueFullError if they are too many."""

    def start(self, num_requests: int = 1, num_tokens: int = 0) -> None:
        """Some of the requests, with their tokens, wait no longer."""

    def start_all(self) -> None:
        """The requests wait no longer."""

    def close(self) -> None:
        """Take them out of the queue, whether they have started or not; harmless a second time."""


UNCOUNTED = Ticket()
"""For what is in no queue."""


class RequestQueue:
    """What waits for one model. Thread-safe.

    A caller that would exceed a limit is refused, unless nobody else waits: so what is larger than
    the whole queue can still be served.
    """

    def __init__(self, limits: QueueLimits) -> None:
        self.limits = limits
        self.num_requests = 0
        self.num_tokens = 0
        self._lock = threading.Lock()
        self._request_rate = StartRate()
        self._token_rate = StartRate()

    def admit(self, packets: Sequence[object]) -> Ticket:
        """A ticket for the requests that packets stand for. Raises QueueFullError.

        A packet may say how many they are, as `num_requests`, and who asks, as `client`.
        """
        num_requests = sum(getattr(packet, "num_requests", 1) for packet in packets)
        client = getattr(packets[0], "client", "") if packets else ""
        with self._lock:
            self._check(
                "max_num_queued_requests", self.num_requests, num_requests, self._request_rate
            )
            # Else more and more would be tokenised only to be refused.
            self._check("max_num_queued_tokens", self.num_tokens, 1, self._token_rate)
            self.num_requests += num_requests
        return _QueueTicket(self, client, num_requests)

    def status(self) -> dict[str, object]:
        """How much waits, and the limits."""
        return {
            "num_queued_requests": self.num_requests,
            "num_queued_tokens": self.num_tokens,
            "max_num_queued_requests": self.limits.max_num_queued_requests,
            "max_num_queued_tokens": self.limits.max_num_queued_tokens,
        }

    def _add_tokens(self, num_own: int, num_new: int) -> None:
        with self._lock:
            if self.num_tokens > num_own:
                self._check("max_num_queued_tokens", self.num_tokens, num_new, self._token_rate)
            self.num_tokens += num_new

    def _remove(self, num_requests: int, num_tokens: int, *, has_started: bool) -> None:
        with self._lock:
            self.num_requests -= num_requests
            self.num_tokens -= num_tokens
            if not self.num_requests:
                self._request_rate.pause()
                self._token_rate.pause()
            elif has_started:
                now = time.monotonic()
                self._request_rate.add(num_requests, now)
                self._token_rate.add(num_tokens, now)

    def _check(self, name: str, num_waiting: int, num_new: int, rate: StartRate) -> None:
        limit: int = getattr(self.limits, name)
        if not limit or not num_waiting or num_waiting + num_new <= limit:
            return
        what = name.removeprefix("max_num_queued_")
        raise QueueFullError(
            f"the model's queue is full: {num_waiting} {what} wait, and with {num_new} more they "
            f"would be above {name}, which is {limit}; try again later. The graph option {name} "
            f"or the flag --{name} raises it",
            name,
            _retry_after(num_waiting, rate),
        )


class _QueueTicket(Ticket):
    def __init__(self, queue: RequestQueue, client: str, num_requests: int) -> None:
        self.client = client
        self._queue = queue
        self._num_requests = num_requests
        self._num_tokens = 0
        self._lock = threading.Lock()

    def add_tokens(self, num_tokens: int) -> None:
        self._queue._add_tokens(self._num_tokens, num_tokens)
        with self._lock:
            self._num_tokens += num_tokens

    def start(self, num_requests: int = 1, num_tokens: int = 0) -> None:
        self._leave(num_requests, num_tokens, has_started=True)

    def start_all(self) -> None:
        self._leave(self._num_requests, self._num_tokens, has_started=True)

    def close(self) -> None:
        self._leave(self._num_requests, self._num_tokens, has_started=False)

    def _leave(self, num_requests: int, num_tokens: int, *, has_started: bool) -> None:
        with self._lock:
            num_requests = min(num_requests, self._num_requests)
            num_tokens = min(num_tokens, self._num_tokens)
            self._num_requests -= num_requests
            self._num_tokens -= num_tokens
        if num_requests or num_tokens:
            self._queue._remove(num_requests, num_tokens, has_started=has_started)


def _retry_after(num_waiting: int, rate: StartRate) -> int:
    """Whole seconds until half of what waits has started, at the rate of the last ones."""
    per_second = rate.per_second(time.monotonic())
    if per_second is None:
        return UNKNOWN_RETRY_S
    seconds = num_waiting / 2 / per_second if per_second else math.inf
    return math.ceil(max(MIN_RETRY_S, min(MAX_RETRY_S, seconds)))


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
