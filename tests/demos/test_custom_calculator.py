"""demos/custom_calculator is installed as a third party's package is, and its graphs run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server.models.config import load_config

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demos" / "custom_calculator"

FAKE_LLM = """
from dataclasses import dataclass
from typing import ClassVar
from server.graph import Calculator, Contract, Tag
from server.payloads import TextChunk, TokenChunk, TokenizedPrompt
from calculators.tags import GENERATION_REQUEST, PROMPT, TEXT, TOKENS

TOKENIZER = Tag("TOKENIZER", str)

@dataclass(frozen=True)
class TokenizerOptions:
    PROTO_NAME: ClassVar[str] = "mediapipe.TokenizerCalculatorOptions"
    models_path: str

@dataclass(frozen=True)
class LlmOptions:
    PROTO_NAME: ClassVar[str] = "mediapipe.LLMCalculatorOptions"
    models_path: str
    device: str = "CPU"

class TokenizerCalculator(Calculator[TokenizerOptions]):
    contract = Contract((GENERATION_REQUEST,), (PROMPT,), (), (TOKENIZER,))
    def open(self, cc):
        cc.set_side_packet(TOKENIZER, "tokenizer")
    async def process(self, cc):
        request = await cc.receive(GENERATION_REQUEST)
        await cc.send(PROMPT, TokenizedPrompt(request, (1,), request.prompt))

class LLMExecutorCalculator(Calculator[LlmOptions]):
    contract = Contract((PROMPT,), (TOKENS,), (TOKENIZER,))
    async def process(self, cc):
        prompt = await cc.receive(PROMPT)
        for number in range(len(prompt.text)):
            await cc.send(TOKENS, TokenChunk(prompt, 0, (number,), lambda: None))

class DetokenizerCalculator(Calculator):
    contract = Contract((TOKENS,), (TEXT,), (TOKENIZER,))
    async def process(self, cc):
        async for chunk in cc.input(TOKENS):
            letter = chunk.prompt.text[chunk.token_ids[0]]
            await cc.send(TEXT, TextChunk(0, letter, 1, 1))
"""

RUN_GRAPH = """
import asyncio, dataclasses, json, sys
from pathlib import Path
from server import payloads
from server.graph import Graph, load_graph_config

async def main(folder, request):
    graph = await Graph.load(load_graph_config(folder / "graph.pbtxt"), folder, folder.name)
    packet = getattr(payloads, graph.input.type.__name__)(**request)
    async with graph.start_run(packet) as run:
        outputs = [dataclasses.asdict(out) async for out in run]
    await graph.close()
    print(json.dumps([graph.output.type.__name__, outputs], default=bytes.decode))

request = json.loads(sys.argv[2])
if "body" in request:
    request["body"] = request["body"].encode()
asyncio.run(main(Path(sys.argv[1]), request))
"""


def run_python(site: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package into a folder of its own, from a copy, so that nothing is left here."""
    folder = tmp_path_factory.mktemp("custom_calculator")
    source, target = folder / "source", folder / "site"
    shutil.copytree(DEMO, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg*"))
    target.mkdir()
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    run_python(target, "-m", "pip", "install", "-q", *options, "--target", str(target), str(source))
    return target


def run_graph(site: Path, folder: Path, **request: Any) -> Any:
    return json.loads(run_python(site, "-c", RUN_GRAPH, str(folder), json.dumps(request)))


def test_its_calculators_are_registered(site: Path) -> None:
    code = (
        "from server.graph import list_calculators\n"
        "for info in list_calculators(): print(*info, sep=' | ')"
    )
    listed = run_python(site, "-c", code)
    assert (
        "WordMaskCalculator | Masks listed words in the text of an answer, also where chunks split "
        "them. | custom-calculators 0.1.0 (custom_calculators.word_mask:WordMaskCalculator)"
    ) in listed


def test_its_family_of_models_is_known(site: Path) -> None:
    code = (
        "from calculators.output_parsers import find_parser_problems\n"
        "print(find_parser_problems('starling', 'starling', is_guided=True))\n"
        "print(find_parser_problems('starlings', ''))"
    )
    known, misspelt = run_python(site, "-c", code).splitlines()
    assert known == "[]"
    assert "did you mean 'starling'?" in misspelt
    export = ["-m", "export_models.export_model", "text_generation", "--help"]
    assert run_python(site, *export).count("starling") == 2
    assert "starling\n    Tool and reasoning parser" in run_python(
        site, "-m", "server", "--list_calculators"
    )


def test_its_types_are_checked_against_those_of_the_server() -> None:
    """`Calculator[MyOptions]` gives `self.options` its type, without another mention of it."""
    command = [
        "-m",
        "mypy",
        "--strict",
        "--explicit-package-bases",
        "--config-file",
        "pyproject.toml",
    ]
    done = subprocess.run(
        [sys.executable, *command, str(DEMO / "src" / "custom_calculators")],
        env=os.environ | {"MYPYPATH": "."},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_its_own_tests_pass(site: Path) -> None:
    arguments = ["-q", "-p", "no:cacheprovider", "-c", str(DEMO / "pyproject.toml")]
    passed = run_python(site, "-m", "pytest", *arguments, str(DEMO / "tests"))
    assert re.search(r"^\d+ passed", passed, re.MULTILINE)


def test_the_chat_graph_masks_words_that_come_letter_by_letter(site: Path, tmp_path: Path) -> None:
    graph = (DEMO / "graphs" / "chat" / "graph.pbtxt").read_text()
    for name in ("TokenizerCalculator", "LLMExecutorCalculator", "DetokenizerCalculator"):
        graph = graph.replace(f'"{name}"', f'"./fake_llm.py:{name}"')
    (tmp_path / "graph.pbtxt").write_text(graph)
    (tmp_path / "fake_llm.py").write_text(FAKE_LLM)
    kind, chunks = run_graph(site, tmp_path, request_id="1", prompt="Rome, not Romeo or PARIS")
    assert kind == "TextChunk"
    assert "".join(chunk["text"] for chunk in chunks) == "[city], not Romeo or [city]"
    assert len(chunks) > 3


def test_the_raw_graph_answers_at_once_and_as_a_stream(site: Path) -> None:
    folder = DEMO / "graphs" / "word_count"
    request = {"method": "POST", "path": "/v3/word_count", "headers": {}}
    body = json.dumps({"text": "a cat, a hat"})
    kind, (answer,) = run_graph(site, folder, body=body, **request)
    assert kind == "HttpResponsePayload"
    assert json.loads(answer["body"]) == {"num_words": 2, "words": {"cat": 1, "hat": 1}}
    body = json.dumps({"text": "cat\nhat", "stream": True})
    _, events = run_graph(site, folder, body=body, **request)
    assert [event["content_type"] for event in events] == ["text/event-stream"] * 3
    assert events[2]["body"] == "data: [DONE]\n\n"


def test_the_config_leads_to_the_graph() -> None:
    (model,) = load_config(DEMO / "graphs" / "config.json").models
    assert model.name == "word_count"
    assert model.find_graph() == DEMO / "graphs" / "word_count" / "graph.pbtxt"


def test_the_graph_in_the_readme_is_the_one_in_the_folder() -> None:
    node = (DEMO / "graphs" / "chat" / "graph.pbtxt").read_text().split("\n\n")[-1]
    indented = "".join(f"    {line}\n" for line in node.splitlines())
    assert indented in (DEMO / "README.md").read_text()
