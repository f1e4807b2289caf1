"""What somebody meets first: the demo, and the model that the package brings along."""

import filecmp
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import bundle
import pytest
from support.server_process import ROOT

from server import LLM, SamplingParams

QUESTIONS = ("What is the capital of Spain?", "What is 27 + 15?", "Tell me a story about a fox.")


def answers(folder: Path) -> list[str]:
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    with LLM(folder, cache_size=1) as llm:
        outputs = llm.chat(chats, SamplingParams(temperature=0, max_tokens=99))
    return [output.text for output in outputs]


def operations(folder: Path) -> Counter[tuple[str, str]]:
    """How many operations of each type the model has, by the type of their first result."""
    layers = ElementTree.parse(folder / "openvino_model.xml").iter("layer")
    return Counter((layer.attrib["type"], _precision(layer)) for layer in layers)


def _precision(layer: ElementTree.Element) -> str:
    port = layer.find("output/port")
    return "" if port is None else port.attrib["precision"]


def test_the_bundled_model_is_what_the_exporter_makes(chat_model: Path) -> None:
    """`make bundle` renews it."""
    names = sorted(path.name for path in chat_model.iterdir() if not path.name.startswith("."))
    assert names == sorted(
        path.name for path in bundle.PACKAGED.iterdir() if not path.name.startswith(".")
    )
    same = ["chat_template.jinja", "config.json", "generation_config.json", "graph.pbtxt"]
    assert filecmp.cmpfiles(chat_model, bundle.PACKAGED, same, shallow=False)[0] == same
    assert operations(chat_model) == operations(bundle.PACKAGED)
    assert answers(chat_model) == answers(bundle.PACKAGED)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a user gets it, built of a copy: build/ may hold files of older states."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("server", "calculators", "export_models"):
        shutil.copytree(ROOT / name, source / name)
    # A server that ran in the source leaves its measurements there.
    for name in (".auto_tune.json", ".step_sizes.json"):
        (source / bundle.PACKAGED.relative_to(ROOT) / name).write_text("[]")
    folder = tmp_path_factory.mktemp("wheel")
    flags = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *flags, str(source)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_is_small_and_has_the_bundled_model(wheel: Path) -> None:
    assert wheel.stat().st_size < 7_200_000
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    folder = bundle.PACKAGED.relative_to(ROOT).as_posix()
    files = ("openvino_model.bin", "graph.pbtxt", ".verified.json")
    assert {f"{folder}/{name}" for name in files} <= names
    assert "server/bundled_models/README.md" in names
    assert names.isdisjoint({f"{folder}/.auto_tune.json", f"{folder}/.step_sizes.json"})


WITHOUT_EXTRAS = """
import sys

EXTRAS = {"torch", "transformers", "optimum", "nncf", "tokenizers", "safetensors"}
EXTRAS |= {"av", "openvino_genai", "PIL", "numba", "scipy", "pandas"}
# Without --port.
ONLY_IF_NEEDED = {"grpc", "grpc_health", "grpc_reflection"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in EXTRAS:
            sys.exit(f"{name} is imported, which is not installed with the package")
        if name in ONLY_IF_NEEDED:
            sys.exit(f"{name} is imported, which nothing here needs")

sys.meta_path.insert(0, Refuse())
import server
from server.cli.main import main
if not server.__file__.startswith(sys.path[1]):
    sys.exit(f"{server.__file__} is not the installed package")
sys.exit(main())
"""


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the package is installed, without what it depends on."""
    folder = tmp_path_factory.mktemp("installed")
    flags = ["--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *flags, str(wheel)], check=True)
    return folder


@contextmanager
def without_extras(
    installed: Path, place: Path, *arguments: object
) -> Iterator[tuple[str, Callable[..., str]]]:
    """A server of the installed package; its URL, and a function that runs further commands."""
    options: dict[str, Any] = {
        "cwd": place,
        "env": {**os.environ, "PYTHONPATH": str(installed)},
        "text": True,
    }
    command = [sys.executable, "-c", WITHOUT_EXTRAS]

    def run(*arguments: str) -> str:
        return subprocess.run(
            [*command, *arguments], capture_output=True, check=True, **options
        ).stdout

    flags = [*map(str, arguments), "--rest_port", "0"]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, **options) as server:
        assert server.stdout is not None
        yield server.stdout.readline().removeprefix("Serving on ").split()[0], run
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0


def test_the_installed_package_answers_without_the_libraries_of_extras(
    installed: Path, tmp_path: Path
) -> None:
    with without_extras(installed, tmp_path, "tiny_chat") as (url, run):
        assert "Madrid" in run("chat", "--url", url, "-q", QUESTIONS[0])


def test_so_do_embedders_and_rerankers(installed: Path, tmp_path: Path) -> None:
    bundled = installed / "server" / "bundled_models"
    names = ("tiny_embedder", "tiny_reranker")
    entries = [{"config": {"name": name, "base_path": str(bundled / name)}} for name in names]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_config_list": entries}))
    with without_extras(installed, tmp_path, "--config_path", config) as (url, _):
        embedding = {"model": "tiny_embedder", "input": "A cow says moo."}
        assert len(post(f"{url}/v3/embeddings", embedding)["data"]) == 1
        documents = {"query": "What does a cow say?", "documents": ["Moo.", "A cow says moo."]}
        ranking = post(f"{url}/v3/rerank", {"model": "tiny_reranker", **documents})
        assert ranking["results"][0]["index"] == 1


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def test_the_demo_shows_an_answer_and_keeps_serving() -> None:
    command = [sys.executable, str(ROOT / "demos" / "chat" / "run_demo.py"), "--rest_port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        shown = "".join(takewhile(lambda line: "Ctrl-C" not in line, demo.stdout))
        assert "Paris" in shown
        client = re.search(r"server (chat --url \S+)", shown)
        assert client is not None
        asked = [sys.executable, "-m", "server", *client[1].split(), "-q", "Count from 3 to 6."]
        answer = subprocess.run(asked, capture_output=True, text=True, check=True)
        assert "3, 4, 5, 6" in answer.stdout
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(timeout=60) == 0
