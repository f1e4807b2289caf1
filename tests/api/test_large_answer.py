"""Large answers are written in slices of time, and sent in parts."""

import asyncio
import time
from collections.abc import Iterator

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from server.api.large_answer import SLICE_S, json_response, response_of


def slow_pieces() -> Iterator[bytes]:
    for _ in range(20):
        time.sleep(SLICE_S)
        yield b"x" * 100_000


async def test_the_event_loop_works_between_the_pieces() -> None:
    num_turns = 0

    async def count_turns() -> None:
        nonlocal num_turns
        while True:
            num_turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    await json_response(slow_pieces())
    counting.cancel()
    assert num_turns >= 20


async def test_a_large_body_arrives_whole_and_with_its_length() -> None:
    pieces = [b"a", b"b" * 3_000_000, bytearray(b"c"), memoryview(b"d" * 500_000)]

    async def answer(_: web.Request) -> web.Response:
        return response_of(pieces, "text/plain", {"X-Test": "1"})

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestClient(TestServer(app)) as client, client.get("/") as response:
        assert await response.read() == b"".join(pieces)
        assert response.headers["Content-Length"] == "3500002"
        assert (response.content_type, response.headers["X-Test"]) == ("text/plain", "1")
