"""Every example of the README, of configs/ and of demos/chat works as it stands there."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.server_process import ROOT, ServerProcess, server_process

README = (ROOT / "README.md").read_text(encoding="utf-8")


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def example_with(language: str, words: str) -> str:
    (found,) = [example for example in examples(language) if words in example]
    return found


@pytest.fixture(scope="module")
def models(chat_model: Path, bert_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out like the project's after `make demo`: models/tiny_chat and configs/.

    There is also models/classifier with a model without a graph.
    """
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(chat_model, folder / "models" / "tiny_chat")
    shutil.copytree(bert_model / "openvino", folder / "models" / "classifier" / "1")
    shutil.copytree(ROOT / "configs", folder / "configs")
    one_node = folder / "configs" / "graph_model_server.pbtxt"
    shutil.copy(one_node, folder / "models" / "tiny_chat")
    return folder


def test_the_curl_example(server: ServerProcess) -> None:
    command = example_with("bash", "curl").replace("http://127.0.0.1:8000", server.url)
    answer = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Paris" in answer.stdout


def test_the_openai_example(server: ServerProcess) -> None:
    code = example_with("python", "OpenAI").replace("http://127.0.0.1:8000", server.url)
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "fox" in answer.stdout


def test_the_python_example(models: Path) -> None:
    code = example_with("python", "import LLM")
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=models,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = answer.stdout.splitlines()
    assert re.fullmatch(r"The capital of France is Paris\. \d+ stop", lines[0])
    assert re.fullmatch(r"27 \+ 15 = 42\. \d+ stop", lines[1])


def test_the_configuration_example(models: Path) -> None:
    path = models / "models" / "config.json"
    path.write_text(example_with("json", "model_config_list"))
    check = [sys.executable, "-m", "server", "--check", "--config_path", str(path)]
    subprocess.run(check, cwd=ROOT, check=True, timeout=60)


def test_the_calculator_example(models: Path) -> None:
    folder = models / "models" / "tiny_chat"
    (folder / "shout.py").write_text(example_with("python", "ShoutCalculator"))
    graph = (folder / "graph.pbtxt").read_text()
    graph = graph.replace('output_stream: "TEXT:text"', 'output_stream: "TEXT:loud"', 1)
    graph += """
node {
  name: "Shout"
  calculator: "./shout.py:ShoutCalculator"
  input_stream: "TEXT:text"
  output_stream: "TEXT:loud"
}
"""
    (folder / "loud.pbtxt").write_text(graph)
    config = models / "models" / "loud.json"
    config.write_text(
        '{"model_config_list": [{"config": '
        '{"name": "loud", "base_path": "tiny_chat", "graph_path": "loud.pbtxt"}}]}'
    )
    with server_process("--config_path", config) as server:
        answer = server.openai().chat.completions.create(
            model="loud", messages=[{"role": "user", "content": "What is the capital of France?"}]
        )
    assert "PARIS" in answer.choices[0].message.content


def test_the_tritonclient_example(models: Path) -> None:
    code = example_with("python", "tritonclient")
    with server_process("--config_path", models / "configs" / "classic_model.json") as server:
        code = code.replace("127.0.0.1:8000", server.url.removeprefix("http://"))
        answer = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
    assert answer.stdout.startswith("[[")


CONFIGURATIONS = ["classic_model.json", "config.json", "config.yaml", "several_models.json"]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_example_configurations_load(models: Path, name: str) -> None:
    with server_process("--config_path", models / "configs" / name) as server:
        status, states = server.get("/v1/config")
        assert status == 200
        assert states
        for model, found in states.items():
            assert found["model_version_status"][0]["state"] == "AVAILABLE", model


@pytest.mark.parametrize("name", ["graph.pbtxt", "graph_model_server.pbtxt"])
def test_example_graphs_serve(models: Path, name: str, tmp_path: Path) -> None:
    folder = models / "models" / "tiny_chat"
    shutil.copy(ROOT / "configs" / name, folder / "graph.pbtxt")
    arguments = ["--model_name", "example", "--model_path", folder]
    with server_process(*arguments) as server:
        answer = server.openai().chat.completions.create(
            model="example",
            messages=[{"role": "user", "content": "What is the capital of France?"}],
        )
    assert "Paris" in answer.choices[0].message.content


def test_the_demo_shows_an_answer_and_goes_on_serving(models: Path) -> None:
    command = [sys.executable, str(ROOT / "demos/chat/run_demo.py"), "--model", "tiny_chat"]
    config = models / "configs" / "config.json"
    with subprocess.Popen(
        [*command, "--config_path", str(config), "--rest_port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        shown = ""
        for line in demo.stdout:
            shown += line
            if "Ctrl-C" in line:
                break
        assert "Paris" in shown
        client = re.search(r"demos/chat/chat.py --model \S+ --url \S+", shown)
        assert client is not None
        asked = [sys.executable, *client[0].split(), "Count from 3 to 6."]
        answer = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
        assert "3, 4, 5, 6" in answer.stdout
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(timeout=60) == 0
