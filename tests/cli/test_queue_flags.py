"""The bounds of queues and of clients, from the command line to the answers, over HTTP and gRPC."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from support.openvino_models import slow_model, write_model
from support.server_process import ROOT, ServerProcess, server_process
from tritonclient.grpc import service_pb2, service_pb2_grpc

CHAT = ROOT / "server" / "bundled_models" / "tiny_chat"
SIZE = 256


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "slow", slow_model())
    entries = [
        {"name": "chat", "base_path": str(CHAT)},
        {"name": "slow", "base_path": "slow", "plugin_config": {"NUM_STREAMS": 1}},
    ]
    file = folder / "config.json"
    file.write_text(json.dumps({"model_config_list": [{"config": entry} for entry in entries]}))
    return file


@pytest.fixture(scope="module")
def queueing(config: Path) -> Iterator[ServerProcess]:
    """Two requests, or 60 tokens, may wait for a model."""
    flags = ("--max_num_queued_requests", 2, "--max_num_queued_tokens", 60)
    with server_process("--config_path", config, "--port", 0, *flags) as server:
        yield server


async def complete(server: ServerProcess, number: int, **fields: Any) -> list[tuple[int, Any]]:
    """Statuses and errors of so many requests at once; Retry-After must be in those of 503, 429."""

    async def ask(http: aiohttp.ClientSession) -> tuple[int, Any]:
        body = {"model": "chat", "prompt": "Once", "max_tokens": 5, **fields}
        async with http.post("/v3/completions", json=body) as response:
            answer = await response.json()
            if response.status in (429, 503):
                assert 1 <= int(response.headers["Retry-After"]) <= 60
            return response.status, answer.get("error")

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(server.url, connector=connector) as http:
        return await asyncio.gather(*(ask(http) for _ in range(number)))


def infer_request() -> Any:
    tensor = {"name": "x", "datatype": "FP32", "shape": [SIZE, SIZE]}
    raw = [bytes(4 * SIZE * SIZE)]
    return service_pb2.ModelInferRequest(model_name="slow", inputs=[tensor], raw_input_contents=raw)


async def infer(server: ServerProcess, number: int) -> list[tuple[grpc.StatusCode, str, str]]:
    """Status, message and retry-after of so many calls at once."""
    async with grpc.aio.insecure_channel(server.grpc_address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls = [stub.ModelInfer(infer_request()) for _ in range(number)]
        return [
            (
                await call.code(),
                await call.details(),
                dict(await call.trailing_metadata()).get("retry-after", ""),
            )
            for call in calls
        ]


async def test_requests_that_wait(queueing: ServerProcess) -> None:
    answers = await complete(queueing, 60)
    problems = {error["message"] for status, error in answers if status == 503}
    assert {status for status, _ in answers} == {200, 503}
    assert all("max_num_queued_requests, which is 2" in problem for problem in problems), problems


async def test_tokens_that_wait(queueing: ServerProcess) -> None:
    answers = await complete(queueing, 30, prompt="word " * 40)
    problems = " ".join(error["message"] for status, error in answers if status == 503)
    assert "max_num_queued_tokens, which is 60" in problems


async def test_calls_of_grpc_that_wait(queueing: ServerProcess) -> None:
    answers = await infer(queueing, 8)
    assert {code for code, _, _ in answers} == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    for code, message, retry_after in answers:
        if code == grpc.StatusCode.OK:
            assert not retry_after
        else:
            assert "max_num_queued_requests, which is 2" in message
            assert 1 <= int(retry_after) <= 60


async def test_refusals_are_counted(queueing: ServerProcess) -> None:
    async with aiohttp.ClientSession(queueing.url) as http, http.get("/metrics") as response:
        metrics = await response.text()
    assert 'vllm:admission_rejections_total{reason="max_num_queued_reqs"}' in metrics
    assert 'vllm:admission_rejections_total{reason="max_num_queued_tokens"}' in metrics


@pytest.fixture(scope="module")
def single(config: Path) -> Iterator[ServerProcess]:
    """A client may have one request at work."""
    flags = ("--max_num_requests_per_client", 1)
    with server_process("--config_path", config, "--port", 0, *flags) as server:
        yield server


async def test_requests_of_one_client(single: ServerProcess) -> None:
    body = {"model": "chat", "prompt": "Once", "max_tokens": 900, "ignore_eos": True}
    async with aiohttp.ClientSession(single.url) as http:
        stream = {**body, "stream": True}
        async with http.post("/v3/completions", json=stream) as response:
            assert response.status == 200
            await response.content.readline()
            ((status, error),) = await complete(single, 1)
            assert status == 429
            assert "above --max_num_requests_per_client, which is 1" in error["message"]
            # Both count together.
            ((code, message, retry_after),) = await infer(single, 1)
            assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "above --max_num_requests_per_client, which is 1" in message
            assert 1 <= int(retry_after) <= 60
    status = 429
    async with asyncio.timeout(20):
        while status == 429:
            # The stream that was left ends in a moment.
            ((status, error),) = await complete(single, 1, n=2)
    assert status == 400
    assert "(--max_num_requests_per_client)" in error["message"]
