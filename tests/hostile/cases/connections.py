"""Clients that say nothing, stop half way, read slowly or leave."""

import asyncio
import json
import socket
import struct
import time
from contextlib import AsyncExitStack, suppress

from hostile.target import Target

__all__ = ["CASES"]

NUM_SILENT = 300
HEAD = b"POST /v3/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
STORY = {
    "model": "tiny_chat",
    "messages": [{"role": "user", "content": "Tell me a story about a fox."}],
    "max_tokens": 300,
    "ignore_eos": True,
    "stream": True,
}


def request_bytes(body: object) -> bytes:
    """A POST of a chat request as it goes over the wire."""
    data = json.dumps(body).encode()
    return HEAD + f"Content-Length: {len(data)}\r\n\r\n".encode() + data


async def silent(target: Target) -> None:
    await hold_open(target, [b""] * NUM_SILENT)


async def half_sent(target: Target) -> None:
    beginnings = [b"G", HEAD, HEAD + b"Content-Length: 1000\r\n\r\n{", b"GET / HTTP/1.1\r\n"]
    await hold_open(target, beginnings * (NUM_SILENT // len(beginnings)))


async def idle_after_answer(target: Target) -> None:
    await hold_open(target, [LIVE] * NUM_SILENT)


async def hold_open(target: Target, beginnings: list[bytes]) -> None:
    """Open connections, send these bytes, and ask a question while all are open."""
    async with AsyncExitStack() as stack:
        for data in beginnings:
            with suppress(OSError):
                _, writer = await stack.enter_async_context(target.connection())
                writer.write(data)
        target.counts["held open"] += len(beginnings)
        await target.check_chat()
        await asyncio.sleep(2)


async def drip(target: Target) -> None:
    """A byte at a time: 100 clients for some seconds."""

    async def one() -> None:
        with suppress(OSError):
            async with target.connection() as (_, writer):
                for byte in request_bytes(STORY)[:30]:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0.1)
        target.counts["dripped"] += 1

    await asyncio.gather(*[one() for _ in range(100)])


async def half_closed(target: Target) -> None:
    short = request_bytes({**STORY, "max_tokens": 5, "stream": False})
    asked = [target.raw(short, half_close=True, wait_s=20) for _ in range(20)]
    for statuses in await asyncio.gather(*asked):
        target.expect(statuses == [200], f"a half-closed client got {statuses}")


async def slow_readers(target: Target) -> None:
    """50 clients that ask for a large answer and read nothing of it."""
    large = {**STORY, "stream": False, "n": 16, "logprobs": True, "top_logprobs": 20}
    async with AsyncExitStack() as stack:
        for i in range(50):
            _, writer = await stack.enter_async_context(target.connection())
            writer.transport.pause_reading()
            writer.write(request_bytes(STORY if i % 2 else large))
        target.counts["unread"] += 50
        await target.check_chat()
        await asyncio.sleep(3)


async def resets(target: Target) -> None:
    """Leave in mid-stream, with and without TCP's reset."""

    async def one(i: int) -> None:
        with suppress(OSError):
            async with target.connection() as (reader, writer):
                writer.write(request_bytes(STORY))
                await reader.readuntil(b"data: ")
                await asyncio.sleep(i % 10 / 50)
                if i % 2:
                    linger = struct.pack("ii", 1, 0)
                    opened = writer.get_extra_info("socket")
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        target.counts["left"] += 1

    for _ in range(10):
        await asyncio.gather(*[one(i) for i in range(50)])


async def pipelined(target: Target) -> None:
    await target.raw(LIVE * 2000, half_close=True, wait_s=60)


async def connect_storm(target: Target) -> None:
    """Connections that are opened and closed as fast as this process can."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        with suppress(OSError):
            async with target.connection():
                target.counts["opened"] += 1


CASES = {
    f"{NUM_SILENT} silent connections": silent,
    f"{NUM_SILENT} half requests": half_sent,
    f"{NUM_SILENT} idle connections": idle_after_answer,
    "100 clients that send a byte at a time": drip,
    "half-closed clients": half_closed,
    "50 clients that do not read": slow_readers,
    "500 clients that leave in mid-stream": resets,
    "2,000 requests in one write": pipelined,
    "connections opened and closed": connect_storm,
}
