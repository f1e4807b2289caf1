"""What the front does with the answers of replicas."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from api.replicas.conftest import PROBE, FakeReplica

from server.api.replicas.backend import Work
from server.api.replicas.front import Front
from server.api.replicas.replica_state import STATE_HEADER
from server.api.settings import HttpSettings


@pytest.fixture
async def front(replicas: list[FakeReplica]) -> AsyncIterator[Front]:
    """Knows that both serve, and does not ask again."""
    front = Front([replica.backend for replica in replicas], "secret", 8)
    for replica in replicas:
        backend = replica.backend
        backend.unready, backend.problem, backend.has_loaded = {}, "", True
    yield front
    await front.close()


@pytest.fixture
async def server(front: Front) -> AsyncIterator[TestServer]:
    async with TestServer(front.make_app(HttpSettings())) as server:
        yield server


async def test_a_full_queue_is_passed_on_and_asks_nothing(
    replicas: list[FakeReplica], server: TestServer
) -> None:
    for replica in replicas:
        replica.status, replica.body = 503, b"the queue is full"
    async with ClientSession() as session:
        for _ in range(4):
            async with session.post(server.make_url("/v3/x"), data=b"{}") as answer:
                assert (answer.status, await answer.read()) == (503, b"the queue is full")
                assert STATE_HEADER not in answer.headers
    assert [replica.num_requests[PROBE] for replica in replicas] == [0, 0]
    assert all(replica.backend.is_ready for replica in replicas)


async def test_the_refusal_of_a_replica_that_stops_is_not_passed_on(
    replicas: list[FakeReplica], server: TestServer
) -> None:
    replicas[0].status, replicas[0].headers = 503, {STATE_HEADER: "stopping"}
    async with ClientSession() as session:
        for _ in range(4):
            async with session.post(server.make_url("/v3/x"), data=b"{}") as answer:
                assert (answer.status, await answer.read()) == (200, b"hello")


async def test_a_stream_is_passed_on_at_once_however_its_lines_end(
    replicas: list[FakeReplica], server: TestServer
) -> None:
    is_read = asyncio.Event()

    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\r\n\r\n")
        await asyncio.wait_for(is_read.wait(), 10)
        await response.write(b"data: 2\r\n\r\n")
        return response

    for replica in replicas:
        replica.stream = stream
    async with ClientSession() as session, session.post(server.make_url("/v3/x")) as answer:
        assert await answer.content.readany() == b"data: 1\r\n\r\n"
        is_read.set()
        assert await answer.content.read() == b"data: 2\r\n\r\n"


async def test_nothing_is_left_of_a_drain_that_ended_late(front: Front) -> None:
    front.router._backends[0].work.append(Work(1))
    before = asyncio.all_tasks()
    await front.drain(0.01)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_all_replicas_load_an_adapter(
    replicas: list[FakeReplica], server: TestServer
) -> None:
    path = "/v1/load_lora_adapter"
    async with ClientSession() as session:
        async with session.post(server.make_url(path), json={"lora_name": "a"}) as answer:
            assert (answer.status, await answer.text()) == (200, "hello")
        assert [replica.num_requests[path] for replica in replicas] == [1, 1]
        refusal = b'{"error": {"message": "it is lost", "type": "server_error", "code": null}}'
        replicas[1].status, replicas[1].body = 400, refusal
        async with session.post(server.make_url(path), json={"lora_name": "a"}) as answer:
            message = (await answer.json())["error"]["message"]
            assert (answer.status, message) == (400, f"{replicas[1].backend.name}: it is lost")
