"""The limit on the requests of one client: status 429, and counts that fall back."""

import asyncio
import json

import aiohttp
import pytest
from support.serving import Server

from server.api.clients.client_limits import ClientLimits
from server.api.settings import HttpSettings


@pytest.fixture
def settings() -> HttpSettings:
    return HttpSettings(clients=ClientLimits(2))


def completion(prompt: str | list[str], **fields: object) -> bytes:
    return json.dumps({"model": "echo", "prompt": prompt, **fields}).encode()


async def post_from(server: Server, address: str, body: bytes) -> int:
    """The status of a request from another address of this machine."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with (
        aiohttp.ClientSession(server.url, connector=connector) as session,
        session.post("/v3/completions", data=body) as response,
    ):
        return response.status


async def test_a_client_with_too_many_requests(server: Server) -> None:
    waiting = [
        asyncio.create_task(server.post("/v3/completions", completion("!wait"))) for _ in range(2)
    ]
    await server.until_running(2)
    async with server.http.post("/v3/completions", data=completion("hi")) as response:
        answer = await response.json()
        assert response.status == 429
        assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert answer["error"]["type"] == "rate_limit_error"
    assert answer["error"]["code"] == "rate_limit_exceeded"
    assert "--max_num_requests_per_client, which is 2" in answer["error"]["message"]
    async with server.http.get("/v3/models") as response:
        assert response.status == 200, "only what generates or changes counts"
    assert await post_from(server, "127.0.0.2", completion("hi")) == 200
    async with server.http.get("/metrics") as response:
        text = await response.text()
    assert 'vllm:admission_rejections_total{reason="max_num_requests_per_client"}' in text
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await server.until_running(0)
    for _ in range(3):
        assert (await server.post("/v3/completions", completion("hi")))[0] == 200


async def test_a_list_counts_for_what_it_is(server: Server) -> None:
    assert (await server.post("/v3/completions", completion(["a", "b"])))[0] == 200
    status, answer = await server.post("/v3/completions", completion(["a", "b", "c"]))
    assert status == 400, "it can never be served"
    assert "counts as 3 requests at once, and a client may have 2" in answer["error"]["message"]
    assert (await server.post("/v3/completions", completion("a", n=3)))[0] == 400
    assert (await server.post("/v3/completions", completion("hi")))[0] == 200


def test_counts_and_own_limits() -> None:
    limits = ClientLimits(1, {"friend": 0})
    with limits.hold("friend") as first, limits.hold("friend") as second:
        assert (first, second) == (None, None)
    with limits.hold("a") as slot:
        assert slot is not None
        slot.resize(1)
    assert limits._num_requests == {}
