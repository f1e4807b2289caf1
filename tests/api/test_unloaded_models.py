"""What clients see of a model that is unloaded: the same answers, and bounded waiting."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fakes import echo_graph, tokenizing_graph, write_graph
from support.resident_models import resident_manager, status_of, until
from support.serving import Server, running_server

GRAPHS = {"echo": echo_graph(), "tokens": tokenizing_graph()}
PATHS = ["/v3/models", "/v3/models/echo", "/v2/models/echo", "/v2/models/echo/ready", "/health"]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with (
        resident_manager(tmp_path, GRAPHS, max_waiting=1) as manager,
        running_server(manager) as running,
    ):
        yield running


async def unload(server: Server) -> None:
    residency = server.manager._residency
    assert residency is not None
    await residency._memory.unload(list(server.manager._models.values()), "a test")


async def test_questions_about_a_model_get_the_same_answers(server: Server) -> None:
    async def answers() -> list[tuple[int, str]]:
        found = []
        for path in PATHS:
            async with server.http.get(path) as response:
                text = (await response.text()).replace(json.dumps(""), "")
                found.append((response.status, _without_residence(text)))
        return found

    loaded = await answers()
    await unload(server)
    assert await answers() == loaded
    assert not status_of(server.manager, "echo")["loaded"]
    async with server.http.get("/v1/config") as response:
        status = (await response.json())["echo"]["model_version_status"][0]
    assert (status["state"], status["unloaded"]["reason"]) == ("AVAILABLE", "a test")


def _without_residence(text: str) -> str:
    if '"model_version_status"' not in text:
        return text
    answer = json.loads(text)
    for status in answer["model_version_status"]:
        for name in ("loaded", "unloaded", "memory_bytes"):
            status.pop(name, None)
    return json.dumps(answer)


async def test_the_tokenizer_is_loaded_when_it_is_asked(server: Server) -> None:
    await unload(server)
    status, answer = await server.post("/tokenize", {"model": "tokens", "prompt": "a b"})
    assert (status, answer["count"]) == (200, 4)
    assert status_of(server.manager, "tokens")["loaded"]


async def test_waiting_ends_with_503(tmp_path: Path) -> None:
    async with (
        resident_manager(tmp_path, GRAPHS, wait_timeout_s=0.5, max_waiting=1) as manager,
        running_server(manager) as server,
    ):
        write_graph(tmp_path / "echo", echo_graph(open_s=1.5))
        await unload(server)
        body = {"model": "echo", "prompt": "hello"}
        calls = [server.http.post("/v3/completions", json=body) for _ in range(2)]
        for response in await asyncio.gather(*calls):
            async with response:
                assert response.status == 503
                assert int(response.headers["Retry-After"]) >= 1
                message = (await response.json())["error"]["message"]
                assert "--load_wait_timeout_s" in message or "--max_requests_waiting" in message
        await until(lambda: status_of(manager, "echo")["loaded"], 30)
        assert (await server.post("/v3/completions", body))[0] == 200


async def test_the_prompts_of_a_request_wait_as_one(server: Server) -> None:
    await unload(server)
    # With `max_waiting` 1, two would be too many.
    status, answer = await server.post(
        "/v3/completions", {"model": "echo", "prompt": ["one", "two", "three"]}
    )
    assert (status, len(answer["choices"])) == (200, 3)
