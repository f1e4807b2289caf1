"""How many requests each client may have at work."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from server.errors import ClientLimitError, InvalidRequestError

__all__ = ["ClientLimits", "ClientSlot"]

MIN_RETRY_S, MAX_RETRY_S = 1, 60
# The newest duration counts for so much of the average.
NEWEST_SHARE = 0.1


class ClientSlot:
    """One request at work; it counts for more once it is known what it asks for."""

    def __init__(self, limits: "ClientLimits", client: str) -> None:
        self.num_requests = 0
        self._limits = limits
        self._client = client

    def resize(self, num_requests: int) -> None:
        """Let it count for so many. Raises ClientLimitError, or InvalidRequestError if even alone
        it would be above the limit.
        """
        self._limits._check(self._client, num_requests, self.num_requests)
        self._limits._add(self._client, num_requests - self.num_requests)
        self.num_requests = num_requests


@dataclass(slots=True)
class ClientLimits:
    """The requests at work of each client, over HTTP and gRPC together.

    A client may have `max_num_requests`, or what `own` says for the name of its API key; 0 is no
    limit.
    """

    max_num_requests: int = 0
    own: Mapping[str, int] = field(default_factory=dict)
    _num_requests: dict[str, int] = field(default_factory=dict)
    _average_s: float = 1.0

    @contextmanager
    def hold(self, client: str) -> Iterator[ClientSlot | None]:
        """Count a request while it is at work; None for a client without a limit.

        Raises ClientLimitError.
        """
        if not self._limit(client):
            yield None
            return
        slot = ClientSlot(self, client)
        started = time.monotonic()
        slot.resize(1)
        try:
            yield slot
            passed = time.monotonic() - started
            self._average_s += NEWEST_SHARE * (passed - self._average_s)
        finally:
            self._add(client, -slot.num_requests)

    def _limit(self, client: str) -> int:
        return self.own.get(client, self.max_num_requests)

    def _check(self, client: str, num_requests: int, num_counted: int) -> None:
        limit = self._limit(client)
        is_own = client in self.own
        name = "max_concurrent_requests" if is_own else "max_num_requests_per_client"
        where = f"{name} of the API key {client!r}" if is_own else f"--{name}"
        if num_requests > limit:
            raise InvalidRequestError(
                f"this counts as {num_requests} requests at once, and a client may have {limit} "
                f"({where}); send it in smaller parts"
            )
        num_others = self._num_requests.get(client, 0) - num_counted
        if num_others + num_requests > limit:
            raise ClientLimitError(
                f"this client has {num_others} requests at work, and with {num_requests} more they "
                f"would be above {where}, which is {limit}; wait for answers first",
                name,
                math.ceil(max(MIN_RETRY_S, min(MAX_RETRY_S, self._average_s / num_others))),
            )

    def _add(self, client: str, num_requests: int) -> None:
        count = self._num_requests.get(client, 0) + num_requests
        if count:
            self._num_requests[client] = count
        else:
            self._num_requests.pop(client, None)
