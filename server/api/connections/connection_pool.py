"""All open connections: their number, the time limits of each, and which to close first."""

import asyncio
import ipaddress
import time
from collections import Counter
from collections.abc import Sequence

from server.api.clients.address import ClientAddresses, Network, client_of_address
from server.api.connections.body_memory import BodyMemory
from server.api.connections.connection import Connection
from server.api.connections.pacer import Pacer
from server.api.connections.settings import ConnectionSettings
from server.api.errors import ApiError

__all__ = ["ConnectionPool"]

# How often time limits are looked at: a quarter of the shortest, but not more often than the first.
CHECK_INTERVALS_S = (0.05, 1.0)
# Idle connections that are closed together, so that not every new one has to look for one.
NUM_CLOSED_AT_ONCE = 32
# Looking through all connections takes time: so long it is not tried again when none was idle.
SEARCH_INTERVAL_S = 0.1
RETRY_AFTER = {"Retry-After": "1"}


class ConnectionPool:
    """The connections of a server. Their memory and their file descriptors are bounded by it.

    `trusted_proxies` may have any number: each has the address of all its clients.
    """

    def __init__(
        self, settings: ConnectionSettings, trusted_proxies: Sequence[Network] = ()
    ) -> None:
        self.settings = settings
        self._addresses = ClientAddresses(trusted_proxies)
        self.memory = BodyMemory(settings.memory_quota)
        self.pacer = Pacer()
        # In the order in which they were opened.
        self._connections: dict[Connection, None] = {}
        self._num_of_client = Counter[str]()
        self._next_search_s = 0.0
        self._checking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def start(self) -> None:
        """Begin to apply the time limits."""
        self._checking = asyncio.create_task(self._check_all())

    def stop(self) -> None:
        """End what `start` began."""
        if self._checking is not None:
            self._checking.cancel()

    def find_refusal(self, host: str) -> ApiError | None:
        """Why a connection from this address cannot be had; None after making room if needed."""
        limits = self.settings
        client = client_of_address(host)
        num_open = self._num_of_client[client]
        limit = limits.max_connections_per_client
        if 0 < limit <= num_open and not self._is_exempt(host) and not self.close_idle(client):
            problem = f"this address has {num_open} connections; --max_connections_per_client"
            return _refusal(429, f"{problem} {limit} is the most", "too_many_connections")
        limit = limits.max_connections
        if 0 < limit <= len(self) and not self.close_idle():
            problem = f"the server has {len(self)} connections; --max_connections {limit} is"
            return _refusal(503, f"{problem} the most", "too_many_connections")
        return None

    def add(self, connection: Connection, host: str) -> None:
        """Count a connection from this address."""
        connection.client = client_of_address(host)
        self._connections[connection] = None
        self._num_of_client[connection.client] += 1

    def discard(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        if connection not in self._connections:
            return
        del self._connections[connection]
        self._num_of_client[connection.client] -= 1
        if not self._num_of_client[connection.client]:
            del self._num_of_client[connection.client]

    def close_idle(self, client: str | None = None) -> int:
        """Close some connections that wait for a request, the oldest first; returns how many."""
        now_s = time.monotonic()
        if now_s < self._next_search_s:
            return 0
        idle: list[Connection] = []
        for connection in self._connections:
            if client in (None, connection.client) and connection.is_idle():
                idle.append(connection)
                if len(idle) == NUM_CLOSED_AT_ONCE:
                    break
        for connection in idle:
            connection.force_close()
        if not idle:
            self._next_search_s = now_s + SEARCH_INTERVAL_S
        return len(idle)

    def _is_exempt(self, host: str) -> bool:
        return _is_this_machine(host) or self._addresses.is_trusted(host)

    async def _check_all(self) -> None:
        interval_s = _check_interval_s(self.settings)
        while True:
            await asyncio.sleep(interval_s)
            now_s = time.monotonic()
            for connection in list(self._connections):
                connection.check(now_s)


def _check_interval_s(settings: ConnectionSettings) -> float:
    limits = (settings.header_timeout_s, settings.timeout_keep_alive_s, settings.write_timeout_s)
    shortest, longest = CHECK_INTERVALS_S
    return max(shortest, min([longest, *(limit / 4 for limit in limits if limit)]))


def _is_this_machine(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        # A Unix socket.
        return True
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


def _refusal(status: int, problem: str, code: str) -> ApiError:
    kind = "service_unavailable" if status == 503 else "invalid_request_error"
    return ApiError(status, problem, kind, code=code, headers=RETRY_AFTER)
