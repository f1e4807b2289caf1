"""Clients that disconnect, and a server that is stopped."""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import httpx
from support.e2e_names import SMALL_TOKENS
from support.server_process import ServerProcess, server_process

LONG = {"model": "small", "prompt": "Once upon a time", "max_tokens": 400, "ignore_eos": True}


async def leave_early(session: aiohttp.ClientSession, num_events: int) -> None:
    """Read some events of a long answer, then cut the connection."""
    async with session.post("/v3/completions", json={**LONG, "stream": True}) as response:
        assert response.status == 200
        for _ in range(num_events):
            await response.content.readuntil(b"\n\n")
        response.close()


async def test_clients_that_leave_give_back_every_block(server: ServerProcess) -> None:
    async with aiohttp.ClientSession(server.url) as session:
        await asyncio.gather(*[leave_early(session, 1 + i % 5) for i in range(12)])
    # A request that needs every block of the cache runs only if all are free.
    prompt = [5] * 100
    whole = {"model": "small", "prompt": prompt, "max_tokens": SMALL_TOKENS - 100}
    status, answer = server.post("/v3/completions", {**whole, "ignore_eos": True})
    assert status == 200
    assert answer["usage"]["completion_tokens"] == SMALL_TOKENS - 100


def leave_early_with_httpx(url: str, num_events: int) -> None:
    """The same by httpx, which OpenAI's client is made of."""
    with httpx.stream("POST", f"{url}/v3/completions", json={**LONG, "stream": True}) as response:
        assert response.status_code == 200
        lines = response.iter_lines()
        for _ in range(num_events):
            while not next(lines).startswith("data: "):
                pass


def test_httpx_clients_that_leave_give_back_every_block(server: ServerProcess) -> None:
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(leave_early_with_httpx, [server.url] * 12, [1 + i % 5 for i in range(12)]))
    prompt = [5] * 100
    whole = {"model": "small", "prompt": prompt, "max_tokens": SMALL_TOKENS - 100}
    status, answer = server.post("/v3/completions", {**whole, "ignore_eos": True})
    assert status == 200
    assert answer["usage"]["completion_tokens"] == SMALL_TOKENS - 100


async def test_a_client_that_does_not_wait_for_its_answer_stops_it(server: ServerProcess) -> None:
    async with aiohttp.ClientSession(server.url) as session:
        waiting = [
            asyncio.create_task(session.post("/v3/completions", json=LONG)) for _ in range(20)
        ]
        await asyncio.sleep(0.5)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    status, answer = server.post("/v3/completions", {**LONG, "max_tokens": 600})
    assert status == 200
    assert answer["usage"]["completion_tokens"] == 600


async def test_sigterm_lets_running_requests_end(repository: Path) -> None:
    with server_process("--config_path", repository / "config.json") as server:
        first_event = asyncio.Event()

        async def read_to_the_end(session: aiohttp.ClientSession) -> bytes:
            body = {**LONG, "model": "tiny_chat", "stream": True}
            async with session.post("/v3/completions", json=body) as response:
                start = await response.content.readuntil(b"\n\n")
                first_event.set()
                return start + await response.read()

        async with aiohttp.ClientSession(server.url) as session:
            running = [asyncio.create_task(read_to_the_end(session)) for _ in range(16)]
            await first_event.wait()
            server.process.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*running)
        assert all(answer.endswith(b"data: [DONE]\n\n") for answer in answers)
        assert await asyncio.to_thread(server.wait) == 0
        assert not [line for line in server.log if "ERROR" in line or "Traceback" in line]


async def test_a_second_signal_cuts_running_requests(repository: Path) -> None:
    with server_process("--config_path", repository / "config.json") as server:
        async with aiohttp.ClientSession(server.url) as session:
            body = {"model": "tiny_chat", "prompt": "Hi", "ignore_eos": True, "stream": True}
            async with session.post("/v3/completions", json={**body, "max_tokens": 2000}) as answer:
                await answer.content.readuntil(b"\n\n")
                server.process.send_signal(signal.SIGINT)
                server.process.send_signal(signal.SIGINT)
                code = await asyncio.to_thread(server.wait)
        assert code == 0
