"""The bounds of connections: their time, their number, and clients that leave or do not read."""

import asyncio
import errno
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network

import pytest
from support.serving import Server

from server.api.connections.connection_pool import ConnectionPool
from server.api.connections.settings import ConnectionSettings
from server.api.settings import HttpSettings

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def settings() -> HttpSettings:
    return HttpSettings(
        body_timeout_s=0.5,
        connections=ConnectionSettings(
            max_connections=4,
            header_timeout_s=0.5,
            timeout_keep_alive_s=0.5,
            write_timeout_s=0.5,
            memory_quota=300_000,
        ),
    )


def completion(prompt: str, **fields: object) -> bytes:
    body = json.dumps({"model": "echo", "prompt": prompt, **fields}).encode()
    return b"POST /v3/completions HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )


LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\n\r\n"


@asynccontextmanager
async def connect(server: Server, sent: bytes = b"") -> AsyncIterator[Streams]:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write(sent)
            yield reader, writer
        finally:
            writer.close()


async def test_silent_connections_are_closed(server: Server) -> None:
    async with connect(server) as (reader, _):
        assert await reader.read() == b""


async def test_headers_that_do_not_end_are_answered_with_408(server: Server) -> None:
    async with connect(server, LIVE[:-2] + b"X-Slow: ") as (reader, _):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"the headers did not arrive within 0.5 s" in answer


async def test_headers_of_a_second_request_have_a_limit_too(server: Server) -> None:
    async with connect(server, LIVE) as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET / HTTP")
        assert b"HTTP/1.1 408 " in await reader.read()


async def test_a_body_byte_by_byte(server: Server) -> None:
    async with connect(server, completion("hi")[:-5]) as (reader, _):
        answer = await reader.readuntil(b"}}")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"--body_timeout_s 0.5" in answer


async def test_idle_connections_are_closed(server: Server) -> None:
    async with connect(server, LIVE) as (reader, _):
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")


async def test_a_request_may_take_longer_than_all_limits(server: Server) -> None:
    async with connect(server, completion("!wait")) as (reader, _):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(), 1.5)


async def test_a_stream_that_nobody_reads_ends(server: Server) -> None:
    async with connect(server, completion("!flood", stream=True)):
        await server.until_running(1)
        await server.until_running(0)


async def test_a_half_closed_client_gets_its_answer(server: Server) -> None:
    async with connect(server, LIVE + completion("hello")) as (reader, writer):
        writer.write_eof()
        answer = await reader.read()
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b'"text":"hello' in answer


async def test_a_half_closed_client_gets_its_stream(server: Server) -> None:
    async with connect(server, completion("a b c", stream=True)) as (reader, writer):
        writer.write_eof()
        answer = await reader.read()
    assert b"data: [DONE]" in answer


async def test_half_a_body_gets_no_answer(server: Server) -> None:
    async with connect(server, completion("hello")[:-5]) as (reader, writer):
        writer.write_eof()
        assert await reader.read() == b""


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_closes_cancels_its_request(stream: bool, server: Server) -> None:
    async with connect(server, completion("!wait", stream=stream)):
        await server.until_running(1)
    await server.until_running(0)


async def test_a_half_closed_client_that_waits_is_not_cancelled(server: Server) -> None:
    async with connect(server, completion("!wait")) as (_, writer):
        await server.until_running(1)
        writer.write_eof()
        await asyncio.sleep(2.5)
        await server.until_running(1)
    await server.until_running(0)


async def test_a_new_connection_takes_the_place_of_an_idle_one(server: Server) -> None:
    async with connect(server, LIVE) as (idle, _), connect(server), connect(server):
        await idle.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)
        for _ in range(3):
            async with connect(server, LIVE) as (reader, _):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_connections_above_the_bound_are_told(server: Server) -> None:
    async with AsyncExitStack() as busy:
        for _ in range(4):
            await busy.enter_async_context(connect(server, completion("!wait")))
        await server.until_running(4)
        async with connect(server, LIVE) as (reader, _):
            answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"--max_connections 4" in answer
    assert b"\r\nRetry-After: 1\r\n" in answer


class Busy:
    """A connection that is never idle."""

    def is_idle(self) -> bool:
        return False


def test_the_bound_of_one_address() -> None:
    pool = ConnectionPool(ConnectionSettings(max_connections_per_client=1))
    for host in ("10.0.0.1", "2001:db8::1", "127.0.0.1", "::1", "::ffff:127.0.0.1"):
        pool.add(Busy(), host)  # type: ignore[arg-type]  # all that the pool looks at
    # Another address of the same /64 network.
    for host in ("10.0.0.1", "2001:db8::2"):
        problem = pool.find_refusal(host)
        assert problem is not None
        assert problem.status == 429
    for host in ("10.0.0.2", "2001:db8:0:1::1", "127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert pool.find_refusal(host) is None


def test_trusted_proxies_have_no_bound() -> None:
    settings = ConnectionSettings(max_connections_per_client=1)
    pool = ConnectionPool(settings, (ip_network("10.0.0.0/24"),))
    for host in ("10.0.0.1", "::ffff:10.0.0.2", "10.0.1.1"):
        pool.add(Busy(), host)  # type: ignore[arg-type]  # all that the pool looks at
    assert pool.find_refusal("10.0.0.1") is None
    assert pool.find_refusal("::ffff:10.0.0.2") is None
    problem = pool.find_refusal("10.0.1.1")
    assert problem is not None
    assert "--max_connections_per_client 1 is the most" in problem.message


async def test_no_descriptors_left(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept = socket.socket.accept
    failures = 3

    def fail(self: socket.socket) -> object:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", fail)
    with caplog.at_level(logging.WARNING):
        async with connect(server, LIVE) as (reader, _):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert not failures
    assert [record.getMessage()[:26] for record in caplog.records] == ["Cannot accept connections:"]


async def test_the_memory_for_all_bodies(server: Server) -> None:
    large = completion("!wait", user="x" * 200_000)
    async with connect(server, large):
        await server.until_running(1)
        async with connect(server, large) as (reader, _):
            answer = await reader.readuntil(b"}}")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"--rest_memory_quota 300000" in answer
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert (await server.post("/v3/completions", json.dumps(SMALL).encode()))[0] == 200
    await server.until_running(0)
    # As large as allowed, and above that for a body on its own.
    for size in (290_000, 400_000, 400_000):
        body = json.dumps({**SMALL, "user": "x" * size}).encode()
        assert (await server.post("/v3/completions", body))[0] == 200


SMALL = {"model": "echo", "prompt": "hi"}
