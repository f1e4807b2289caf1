"""The queue of an LLM: refused at once when full, shared fairly, and empty afterwards."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.serving import Server, running_server

from server.graph import quote
from server.models.bundled import find_bundled_model
from server.models.config import load_config
from server.models.model_manager import ModelManager

GRAPH = """
input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"
node {{
  calculator: "HttpLLMCalculator"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  node_options: {{
    [type.googleapis.com/mediapipe.LLMCalculatorOptions]: {{
      models_path: {path} cache_size: 1 auto_tune: false {options}
    }}
  }}
}}
"""

Serve = Callable[[str], AbstractAsyncContextManager[Server]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    @asynccontextmanager
    async def run(options: str) -> AsyncIterator[Server]:
        folder = tmp_path / "llm"
        folder.mkdir(exist_ok=True)
        path = quote(str(find_bundled_model("tiny_chat")))
        (folder / "graph.pbtxt").write_text(GRAPH.format(path=path, options=options))
        config = tmp_path / "config.json"
        config.write_text(
            f'{{"model_config_list": [{{"config": {{"name": "llm", "base_path": "{folder}"}}}}]}}'
        )
        manager = ModelManager(load_config(config))
        await manager.load_all()
        async with running_server(manager) as server:
            yield server

    return run


def body(prompt: str | list[str] = "The number", max_tokens: int = 200, **fields: Any) -> Any:
    return {"model": "llm", "prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True} | fields


async def ask(server: Server, **fields: Any) -> tuple[int, str | None, Any]:
    """Status, Retry-After, and the answer."""
    async with server.http.post("/v3/completions", json=body(**fields)) as response:
        return response.status, response.headers.get("Retry-After"), await response.json()


@asynccontextmanager
async def seated(server: Server) -> AsyncIterator[None]:
    """A long answer that has begun, so that it waits no more."""
    long = body(max_tokens=1900, stream=True)
    async with server.http.post("/v3/completions", json=long) as response:
        await response.content.readline()
        yield


def queued(server: Server) -> tuple[object, object]:
    (status,) = [
        status
        for status in server.manager.get("llm").graph.status().values()
        if "num_queued_requests" in status
    ]
    return status["num_queued_requests"], status["num_queued_tokens"]


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_true():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.002)


async def until_empty(server: Server) -> None:
    await server.until_running(0, "llm")
    assert queued(server) == (0, 0)


async def test_a_full_queue(serve: Serve) -> None:
    async with serve("max_num_seqs: 2 max_num_queued_requests: 4") as server:
        async with seated(server), seated(server):
            asked = {asyncio.create_task(ask(server)) for _ in range(30)}
            await until(lambda: sum(task.done() for task in asked) >= 26)
        answers = await asyncio.gather(*asked)
        counts = Counter(status for status, _, _ in answers)
        assert counts == {200: 4, 503: 26}
        for status, retry_after, answer in answers:
            if status == 503:
                assert retry_after is not None
                assert 1 <= int(retry_after) <= 60
                assert answer["error"]["code"] == "queue_full"
                assert answer["error"]["type"] == "service_unavailable"
        await until_empty(server)
        async with server.http.get("/metrics") as response:
            text = await response.text()
        assert 'vllm:admission_rejections_total{reason="max_num_queued_reqs"}' in text
        assert (await ask(server, max_tokens=1))[0] == 200, "there is room again"


async def test_lists_and_choices_count_for_what_they_are(serve: Serve) -> None:
    async with serve("max_num_seqs: 2 max_num_queued_requests: 4") as server:
        status, _, answer = await ask(server, prompt=["a"] * 20, max_tokens=1)
        assert status == 200, "nothing else waits"
        assert len(answer["choices"]) == 20
        async with seated(server), seated(server):
            waiting = asyncio.create_task(ask(server, max_tokens=900))
            await until(lambda: queued(server)[0] == 1)
            assert (await ask(server, prompt=["a"] * 4, max_tokens=1))[0] == 503
            assert queued(server)[0] == 1, "none of them is left"
            assert (await ask(server, prompt=["a"] * 2, n=2, max_tokens=1))[0] == 503
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await until_empty(server)


async def test_tokens_count_after_tokenising(serve: Serve) -> None:
    async with serve("max_num_seqs: 1 max_num_queued_tokens: 50") as server:
        long = "word " * 40
        busy = [asyncio.create_task(ask(server, max_tokens=900))]
        await server.until_running(1, "llm")
        await until(lambda: queued(server)[0] == 0)
        busy.append(asyncio.create_task(ask(server, prompt=long)))
        await until(lambda: queued(server)[1] != 0)
        status, _, answer = await ask(server, prompt=long)
        assert status == 503
        assert "max_num_queued_tokens, which is 50" in answer["error"]["message"]
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        await until_empty(server)


async def test_clients_that_leave_the_queue_leave_nothing(serve: Serve) -> None:
    async with serve("max_num_seqs: 1") as server:
        tasks = [asyncio.create_task(ask(server, max_tokens=900)) for _ in range(50)]
        await server.until_running(50, "llm")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until_empty(server)
        assert (await ask(server, max_tokens=1))[0] == 200


async def test_a_noisy_client_does_not_delay_a_quiet_one(serve: Serve) -> None:
    async with serve("max_num_seqs: 16") as server:
        noisy = [asyncio.create_task(ask(server, max_tokens=10)) for _ in range(500)]
        await until(lambda: sum(task.done() for task in noisy) >= 50)
        assert not noisy[-1].done()
        connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        num_before, start = sum(task.done() for task in noisy), time.monotonic()
        async with aiohttp.ClientSession(server.url, connector=connector) as quiet:
            request = body(max_tokens=2, stream=True)
            async with quiet.post("/v3/completions", json=request) as response:
                await response.content.readline()
        num_meanwhile = sum(task.done() for task in noisy) - num_before
        ttft = time.monotonic() - start
        answers = await asyncio.gather(*noisy)
        assert {status for status, _, _ in answers} == {200}
        assert num_meanwhile < 100, "a few seats had to become free"
        assert ttft < (time.monotonic() - start) / 3
        await until_empty(server)
