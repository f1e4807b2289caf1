"""The third-party package of demos/custom_calculator, installed, in a real server."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.e2e_graphs import ONE_NODE_GRAPH, write_model
from support.server_process import ROOT, ServerProcess, server_process

DEMO = ROOT / "demos" / "custom_calculator"


@pytest.fixture(scope="module")
def masked_server(
    chat_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server that finds the package by its entry points, with both of its graphs."""
    folder = tmp_path_factory.mktemp("custom")
    shutil.copytree(DEMO, folder / "source", ignore=shutil.ignore_patterns("*.egg-info", "build"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    pip += ["--no-build-isolation", "--target", str(folder / "site"), str(folder / "source")]
    subprocess.run(pip, check=True)
    shutil.copytree(chat_model, folder / "masked")
    shutil.copy(DEMO / "graphs" / "chat" / "graph.pbtxt", folder / "masked")
    word_count = {"name": "word_count", "base_path": str(DEMO / "graphs" / "word_count")}
    entries = [{"config": {"name": "masked"}}, {"config": word_count}]
    (folder / "config.json").write_text(json.dumps({"model_config_list": entries}))
    options = 'tool_parser: "starling", num_kv_blocks: 99'
    graph = ONE_NODE_GRAPH.format(models_path=chat_model, options=options)
    write_model(folder, "starling", graph)
    environment = {**os.environ, "PYTHONPATH": str(folder / "site")}
    with server_process("--config_path", folder / "config.json", env=environment) as server:
        yield server


def test_the_chat_answer_is_masked(masked_server: ServerProcess) -> None:
    asked = {
        "model": "masked",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
    }
    client = masked_server.openai()
    whole = client.chat.completions.create(**asked)
    assert "[city]" in whole.choices[0].message.content
    assert "Paris" not in whole.choices[0].message.content
    chunks = client.chat.completions.create(**asked, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content


def test_a_path_of_its_own(masked_server: ServerProcess) -> None:
    status, answer = masked_server.post("/v3/word_count", {"text": "The cat and the hat."})
    assert (status, answer["num_words"]) == (200, 5)
    status, answer = masked_server.post("/v3/anything", {"model": "word_count", "text": "cat cat"})
    assert (status, answer["words"]) == (200, {"cat": 2})


def test_a_text_graph_does_not_serve_raw_paths_nor_the_other_way(
    masked_server: ServerProcess,
) -> None:
    status, answer = masked_server.post("/v3/word_count", {"model": "masked", "text": "cat"})
    assert status == 400
    assert "masked" in answer["error"]["message"]
    status, answer = masked_server.post("/v3/completions", {"model": "word_count", "prompt": "x"})
    assert status == 400
    assert "word_count" in answer["error"]["message"]


def test_a_call_is_made_in_the_form_of_a_third_partys_family(masked_server: ServerProcess) -> None:
    parameters = {"type": "object", "properties": {"days": {"enum": [3, 7]}}, "required": ["days"]}
    answer = masked_server.openai().chat.completions.create(
        model="starling",
        messages=[{"role": "user", "content": "Hello!"}],
        tools=[{"type": "function", "function": {"name": "look_up", "parameters": parameters}}],
        tool_choice={"type": "function", "function": {"name": "look_up"}},
        max_tokens=100,
    )
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "look_up"
    assert json.loads(call.function.arguments)["days"] in (3, 7)
