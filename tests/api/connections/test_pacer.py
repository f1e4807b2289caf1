"""Many requests at once: a few are begun in each turn of the event loop, and clients take turns."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from support.serving import Server

from server.api.connections.body_memory import SMALL_BYTES
from server.api.connections.connection import Connection
from server.api.connections.pacer import READS_PER_ACCEPTING_TURN, READS_PER_TURN, Pacer, Urgency

MANY = 200
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\n\r\n"


def completion(prompt: str, **fields: object) -> bytes:
    body = json.dumps({"model": "echo", "prompt": prompt, **fields}).encode()
    head = b"POST /v3/completions HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


@contextmanager
def connections(
    server: Server, number: int, address: str = "127.0.0.1"
) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        opened = []
        for _ in range(number):
            source = (address, 0)
            client = socket.create_connection(("127.0.0.1", server.port), 20, source)
            # Closing it is a reset, which the server notices at once.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            opened.append(stack.enter_context(client))
        yield opened


async def until_accepted(clients: list[socket.socket]) -> None:
    """Ask each for a probe, so that no connection is new any more."""
    for client in clients:
        client.sendall(LIVE)
    for client in clients:
        assert await receive(client, b"\r\n\r\n")


async def receive(client: socket.socket, until: bytes) -> bytes:
    """What the client is sent, until it ends so or the server closes."""
    client.setblocking(False)
    answer = b""
    async with asyncio.timeout(20):
        while not answer.endswith(until):
            piece = await asyncio.get_running_loop().sock_recv(client, 65536)
            answer += piece
            if not piece:
                break
    return answer


async def turns(server: Server) -> AsyncIterator[int]:
    """How many requests the graph has, in each turn of the loop."""
    graph = server.manager.get("echo").graph
    async with asyncio.timeout(20):
        while True:
            await asyncio.sleep(0)
            yield graph.num_running  # type: ignore[attr-defined]  # a loaded graph


async def test_requests_that_come_together_begin_one_after_the_other(server: Server) -> None:
    with connections(server, MANY) as clients:
        await until_accepted(clients)
        for client in clients:
            client.sendall(completion("!wait"))
        before = most = 0
        async for num_running in turns(server):
            most = max(most, num_running - before)
            before = num_running
            if num_running == MANY:
                break
    assert most <= READS_PER_TURN
    await server.until_running(0)


async def test_a_probe_does_not_wait_for_the_requests_before_it(server: Server) -> None:
    with connections(server, MANY) as clients, connections(server, 1) as (probe,):
        await until_accepted([*clients, probe])
        for client in clients:
            client.sendall(completion("!wait"))
        probe.sendall(LIVE)
        assert (await receive(probe, b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        async for num_running in turns(server):
            assert num_running < MANY / 2
            break


async def test_another_client_does_not_wait_for_the_requests_before_it(server: Server) -> None:
    with connections(server, MANY) as clients, connections(server, 1, "127.0.0.2") as (other,):
        await until_accepted([*clients, other])
        for client in clients:
            client.sendall(completion("!wait"))
        other.sendall(completion("hello"))
        assert b'"text":"hello' in await receive(other, b"}}")
        async for num_running in turns(server):
            assert num_running < MANY / 2
            break


async def test_a_probe_on_a_new_connection(server: Server) -> None:
    with connections(server, MANY) as clients:
        for client in clients:
            client.sendall(completion("!wait"))
        with connections(server, 1) as (probe,):
            probe.sendall(LIVE)
            assert (await receive(probe, b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            async for num_running in turns(server):
                assert num_running < MANY / 2
                break


async def test_clients_that_wait_may_close_their_sending_side(server: Server) -> None:
    with connections(server, 50) as clients:
        await until_accepted(clients)
        for client in clients:
            client.sendall(completion("hello"))
            client.shutdown(socket.SHUT_WR)
        answers = [await receive(client, b"never") for client in clients]
    assert all(b'"text":"hello' in answer for answer in answers)


async def test_half_a_request_of_clients_that_wait(server: Server) -> None:
    with connections(server, 50) as clients:
        await until_accepted(clients)
        for client in clients:
            client.sendall(completion("hello")[:-5])
            client.shutdown(socket.SHUT_WR)
        answers = [await receive(client, b"never") for client in clients]
    assert set(answers) == {b""}


async def test_large_bodies_of_clients_that_wait(server: Server) -> None:
    large = completion("hello", user="x" * 2_000_000)
    loop = asyncio.get_running_loop()
    with connections(server, 30) as clients:
        await until_accepted(clients)
        sending = [loop.sock_sendall(client, large) for client in clients]
        await asyncio.gather(*sending)
        answers = await asyncio.gather(*[receive(client, b"}}") for client in clients])
    assert all(b'"text":"hello' in answer for answer in answers)


async def test_little_is_held_of_clients_that_wait(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands may wait, and no memory quota counts what they have sent so far."""
    held: list[int] = []
    hold = Connection._hold

    def note(connection: Connection, data: bytes) -> None:
        hold(connection, data)
        held.append(len(connection._held))

    monkeypatch.setattr(Connection, "_hold", note)
    await test_large_bodies_of_clients_that_wait(server)
    assert len(held) > 10
    assert max(held) <= SMALL_BYTES


async def test_a_client_that_leaves_before_its_turn(server: Server) -> None:
    with connections(server, MANY) as clients:
        await until_accepted(clients)
        for client in clients:
            client.sendall(completion("!wait"))
        async for num_running in turns(server):
            if num_running:
                break
    await server.until_running(0)
    assert (await server.post("/v3/completions", {"model": "echo", "prompt": "hi"}))[0] == 200


class Reader:
    """Notes its name when it may read."""

    def __init__(self, client: str, name: str, read: list[str]) -> None:
        self.client = client
        self._name = name
        self._read = read

    def read_held(self) -> None:
        self._read.append(self._name)


@pytest.fixture
def read() -> list[str]:
    return []


async def fill(pacer: Pacer) -> None:
    while pacer.take():
        pass


async def test_kinds_and_clients_take_turns(read: list[str]) -> None:
    pacer = Pacer()
    await fill(pacer)
    for number in range(3):
        pacer.wait(Reader("a", f"a{number}", read), Urgency.NEW)
    pacer.wait(Reader("b", "b0", read), Urgency.NEW)
    pacer.wait(Reader("a", "poll", read), Urgency.POLL)
    pacer.wait(Reader("a", "body", read), Urgency.BODY)
    await asyncio.sleep(0)
    assert sorted(read[:3]) == ["a0", "body", "poll"]
    assert read[3:] == ["b0", "a1", "a2"]


async def test_few_are_read_while_connections_are_accepted(read: list[str]) -> None:
    pacer = Pacer()
    await fill(pacer)
    for number in range(20):
        pacer.wait(Reader("a", str(number), read), Urgency.NEW)
    pacer.is_accepting = True
    await asyncio.sleep(0)
    assert len(read) == READS_PER_ACCEPTING_TURN
    assert not pacer.take()
    await asyncio.sleep(0)
    assert len(read) == READS_PER_ACCEPTING_TURN + READS_PER_TURN
