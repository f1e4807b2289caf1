"""Replicas that answer as a test says, on real sockets."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from server.api.replicas.backend import Backend
from server.api.replicas.replica_state import STATE_HEADER

PROBE = "/v2/health/ready"


class FakeReplica:
    """Answers every request with `status`, `body` and `headers`, and probes with those of `probe`.

    `wait` comes before each answer, and `stream` makes another one.
    `num_requests` counts them by their paths.
    """

    def __init__(self, number: int, socket_path: Path) -> None:
        self.backend = Backend(number, socket_path)
        self.num_requests: Counter[str] = Counter()
        self.probe: tuple[int, bytes, Mapping[str, str]] = (200, b"", {STATE_HEADER: "serving"})
        self.status, self.body, self.headers = 200, b"hello", {STATE_HEADER: "serving"}
        self.wait: Callable[[], Awaitable[None]] | None = None
        self.stream: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | None = None

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.num_requests[request.path] += 1
        if self.wait is not None:
            await self.wait()
        if request.path == PROBE:
            status, body, headers = self.probe
            return web.Response(status=status, body=body, headers=headers)
        if self.stream is not None:
            return await self.stream(request)
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[list[FakeReplica]]:
    """Two that answer."""
    async with AsyncExitStack() as stack:
        found = [FakeReplica(number, tmp_path / f"{number}.http") for number in range(2)]
        for replica in found:
            runner = web.ServerRunner(web.Server(replica.answer), shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.UnixSite(runner, str(replica.backend.socket_path)).start()
            stack.push_async_callback(replica.backend.close)
        yield found
