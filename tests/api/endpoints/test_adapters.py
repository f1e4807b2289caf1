"""LoRA adapters over HTTP: named as models, loaded and unloaded while the bundled model serves."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.adapters.peft_files import modules_of, write_adapter
from support.serving import Server, running_server

from server.api.clients.api_keys import ApiKey, KeyRing, Scope, digest_of
from server.api.settings import HttpSettings
from server.engine.model import warm_up
from server.graph import Services
from server.models.bundled import find_bundled_model
from server.models.config import load_config
from server.models.loading import retirements
from server.models.model_manager import ModelManager
from server.payloads import LateAdapters, LoadOptions

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


@pytest.fixture(autouse=True)
def warm_up_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_up, "MAX_TOKENS", 2)


@pytest.fixture(scope="module")
def bundled() -> Path:
    found = find_bundled_model("tiny_chat")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def loras(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the adapters a0 and a1, and a broken one."""
    folder = tmp_path_factory.mktemp("loras")
    modules = modules_of(bundled)
    for number in range(2):
        write_adapter(folder / f"a{number}", modules, number)
    write_adapter(folder / "dora", modules, 0, use_dora=True)
    return folder


@pytest.fixture
def repository(bundled: Path, loras: Path, tmp_path: Path) -> Path:
    """The bundled model under the name base, with an adapter in its graph."""
    folder = tmp_path / "base"
    shutil.copytree(bundled, folder)
    graph = folder / "graph.pbtxt"
    adapter = f'lora_adapters {{ alias: "own" path: "{loras / "a0"}" }}'
    options = f"{adapter} num_kv_blocks: 64"
    graph.write_text(graph.read_text().replace("cache_size: 0", options))
    config = {"model_config_list": [{"config": {"name": "base", "base_path": "base"}}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@asynccontextmanager
async def serving(
    repository: Path, folder: Path | None, keys: Sequence[ApiKey] = ()
) -> AsyncIterator[Server]:
    options = LoadOptions(auto_tune=False, takes_lora_adapters=folder is not None)
    services = Services(extras=(options, LateAdapters()))
    manager = ModelManager(load_config(repository / "config.json"), services=services)
    await manager.load_all()
    settings = HttpSettings(lora_folder=folder, keys=KeyRing(keys) if keys else None)
    async with running_server(manager, settings) as running:
        yield running


@pytest.fixture
async def server(
    repository: Path, loras: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Server]:
    monkeypatch.setattr(retirements, "HAND_OVER_S", 0.0)
    async with serving(repository, loras) as running:
        yield running


async def text_of(server: Server, model: str) -> str:
    """What a model writes after a prompt."""
    body = {"model": model, "prompt": "The capital", "max_tokens": 8, "temperature": 0}
    status, answer = await server.post("/v3/completions", {**body, "ignore_eos": True})
    assert status == 200, answer
    assert answer["model"] == model
    text: str = answer["choices"][0]["text"]
    return text


async def change(server: Server, path: str, **fields: Any) -> tuple[int, str]:
    """The status, and the text of the answer or the message of its error."""
    async with server.http.post(path, json=fields) as response:
        text = await response.text()
        return response.status, text if response.status == 200 else message_of(text)


def message_of(text: str) -> str:
    found: str = json.loads(text)["error"]["message"]
    return found


async def models_of(server: Server, path: str = "/v1/models") -> dict[str, Any]:
    async with server.http.get(path) as response:
        return {model["id"]: model for model in (await response.json())["data"]}


async def test_an_adapter_comes_and_goes(server: Server, loras: Path) -> None:
    plain, own = await text_of(server, "base"), await text_of(server, "own")
    assert plain != own
    assert await change(server, LOAD, lora_name="late", lora_path="a1") == (
        200,
        "Success: LoRA adapter 'late' added successfully.",
    )
    late = await text_of(server, "late")
    assert len({plain, own, late}) == 3
    for path in ("/v1/models", "/v3/models"):
        models = await models_of(server, path)
        assert models["late"]["parent"] == models["own"]["parent"] == "base"
        assert models["late"]["root"] == str(loras / "a1")
        assert (models["base"]["parent"], models["base"]["root"]) == (None, "base")
    assert (await change(server, UNLOAD, lora_name="late"))[0] == 200
    assert "late" not in await models_of(server)
    status, answer = await server.post("/v3/completions", {"model": "late", "prompt": "x"})
    assert (status, answer["error"]["code"]) == (404, "model_not_found")
    assert await text_of(server, "own") == own
    # The answers of an adapter of the same name are its own.
    assert (await change(server, LOAD, lora_name="late", lora_path="a0"))[0] == 200
    assert await text_of(server, "late") == own


async def test_every_endpoint_of_text_takes_adapters(server: Server) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    chat = {"messages": messages, "max_tokens": 8, "temperature": 0}
    answers = {}
    for model in ("base", "own"):
        _, completion = await server.post("/v1/chat/completions", {"model": model, **chat})
        _, message = await server.post("/v1/messages", {"model": model, **chat})
        body = {"model": model, "input": "Hello", "max_output_tokens": 16, "temperature": 0}
        _, response = await server.post("/v1/responses", body)
        answers[model] = (
            completion["choices"][0]["message"]["content"],
            message["content"][0]["text"],
            response["output"][0]["content"][0]["text"],
        )
    assert all(one != other for one, other in zip(*answers.values(), strict=True))


async def test_a_stream_goes_on_with_its_adapter(server: Server) -> None:
    body = {"model": "own", "prompt": "The capital", "temperature": 0, "ignore_eos": True}
    _, whole = await server.post("/v3/completions", {**body, "max_tokens": 200})
    stream = {**body, "max_tokens": 200, "stream": True}
    written = ""
    async with server.http.post("/v3/completions", json=stream) as response:
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            written += json.loads(line[6:])["choices"][0]["text"]
            if not written.strip() or "own" not in await models_of(server):
                continue
            assert (await change(server, LOAD, lora_name="new", lora_path="a1"))[0] == 200
            assert (await change(server, UNLOAD, lora_name="own"))[0] == 200
    assert written == whole["choices"][0]["text"]


BAD_LOADS: tuple[tuple[dict[str, Any], int, str], ...] = (
    ({"lora_path": "a1"}, 400, "lora_name"),
    ({"lora_name": "x"}, 400, "lora_path"),
    ({"lora_name": "", "lora_path": "a1"}, 400, "at least 1 character"),
    ({"lora_name": "own", "lora_path": "a1"}, 400, "'own' is loaded already"),
    ({"lora_name": "base", "lora_path": "a1"}, 400, "is the name of another model"),
    ({"lora_name": "x", "lora_path": "../a1"}, 400, "leads out of the folder"),
    ({"lora_name": "x", "lora_path": "/etc"}, 400, "leads out of the folder"),
    ({"lora_name": "x", "lora_path": "a\0"}, 400, "lora_path cannot be used"),
    ({"lora_name": "x", "lora_path": "lost"}, 400, "'lost': there is no such file"),
    ({"lora_name": "x", "lora_path": "dora"}, 400, "use_dora is not supported"),
    ({"lora_name": "x", "lora_path": "a1", "model": "other"}, 404, "no model 'other'"),
)


async def test_what_cannot_be_loaded(server: Server) -> None:
    for fields, status, problem in BAD_LOADS:
        found, message = await change(server, LOAD, **fields)
        assert (found, problem in message) == (status, True), message
    assert set(await models_of(server)) == {"base", "own"}


async def test_an_unknown_adapter_cannot_be_unloaded(server: Server) -> None:
    assert (await change(server, UNLOAD, lora_name="lost"))[0] == 404
    status, message = await change(server, UNLOAD, lora_name="lost", model="base")
    assert (status, message) == (404, "there is no adapter 'lost'; adapters: own")


async def test_one_may_replace_another(server: Server) -> None:
    before = await text_of(server, "own")
    fields = {"lora_name": "own", "lora_path": "a1", "load_inplace": True}
    assert (await change(server, LOAD, **fields))[0] == 200
    assert await text_of(server, "own") != before


async def test_a_reload_keeps_what_was_loaded_late(server: Server, repository: Path) -> None:
    assert (await change(server, LOAD, lora_name="late", lora_path="a1"))[0] == 200
    fields = {"lora_name": "own", "lora_path": "a1", "load_inplace": True}
    assert (await change(server, LOAD, **fields))[0] == 200
    late = await text_of(server, "late")
    graph = repository / "base" / "graph.pbtxt"
    graph.write_text(graph.read_text().replace("num_kv_blocks: 64", "num_kv_blocks: 65"))
    status, answer = await server.post("/v1/config/reload", {})
    assert status == 201, answer
    assert await text_of(server, "late") == await text_of(server, "own") == late


async def test_the_status_and_the_metrics_name_adapters(server: Server, loras: Path) -> None:
    async with server.http.get("/v1/config") as response:
        (version,) = (await response.json())["base"]["model_version_status"]
    nodes = [node for node in version["nodes"].values() if "adapters" in node]
    assert nodes[0]["adapters"]["own"] == {"path": str(loras / "a0"), "rank": 4, "modules": 35}
    async with server.http.get("/metrics") as response:
        text = await response.text()
    labels = 'max_lora="1",running_lora_adapters="",waiting_lora_adapters=""'
    assert f"vllm:lora_requests_info{{{labels}}} " in text


async def test_without_the_flag_nothing_is_loaded(repository: Path) -> None:
    async with serving(repository, None) as server:
        status, message = await change(server, LOAD, lora_name="x", lora_path="a1")
        assert (status, "--lora_folder" in message) == (403, True)
        assert (await change(server, UNLOAD, lora_name="own"))[0] == 403
        assert await text_of(server, "own") != await text_of(server, "base")


async def test_keys(repository: Path, loras: Path) -> None:
    """Loading needs an admin; a key for a model may use its adapters, or only one of them."""
    names = {"admin": None, "base": frozenset({"base"}), "own": frozenset({"own"})}
    keys = [
        ApiKey(digest_of(name), name, Scope.ADMIN if models is None else Scope.USE, models)
        for name, models in names.items()
    ]
    async with serving(repository, loras, keys) as server:
        statuses = {}
        for name in names:
            headers = {"Authorization": f"Bearer {name}"}
            fields = {"lora_name": f"x{name}", "lora_path": "a1"}
            async with server.http.post(LOAD, json=fields, headers=headers) as response:
                statuses[name, "load"] = response.status
            for model in ("base", "own"):
                body = {"model": model, "prompt": "x", "max_tokens": 1}
                status, _ = await server.post("/v3/completions", body, headers=headers)
                statuses[name, model] = status
    assert statuses == {
        ("admin", "load"): 200,
        ("admin", "base"): 200,
        ("admin", "own"): 200,
        ("base", "load"): 403,
        ("base", "base"): 200,
        ("base", "own"): 200,
        ("own", "load"): 403,
        ("own", "base"): 403,
        ("own", "own"): 200,
    }


async def test_many_are_loaded_at_once(server: Server, loras: Path) -> None:
    names = [f"n{number}" for number in range(6)]
    loads = [change(server, LOAD, lora_name=n, lora_path=f"a{i % 2}") for i, n in enumerate(names)]
    texts = [text_of(server, "own") for _ in names]
    found = await asyncio.gather(*loads, *texts)
    assert [status for status, _ in found[: len(names)]] == [200] * len(names)
    assert len(set(found[len(names) :])) == 1
    first, second = await text_of(server, "n0"), await text_of(server, "n1")
    assert first == found[-1] != second
    assert np.unique([await text_of(server, name) for name in names]).size == 2


async def test_a_check_finds_adapters_that_cannot_be_served(repository: Path) -> None:
    manager = ModelManager(load_config(repository / "config.json"))
    assert await manager.find_problems() == {"base": None}
    graph = repository / "base" / "graph.pbtxt"
    graph.write_text(graph.read_text().replace("/a0", "/dora"))
    problem = (await manager.find_problems())["base"]
    assert problem is not None
    assert "use_dora is not supported" in problem
