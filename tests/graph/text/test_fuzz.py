"""Random damage to a good graph.pbtxt gives a GraphError or a graph, and nothing else."""

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import GraphError
from server.graph import load_graph_config, parse_graph_config, validate

PIECES = [
    "{",
    "}",
    "[",
    "]",
    "<",
    ">",
    ":",
    ",",
    ";",
    '"',
    "'",
    "\\",
    "#",
    "\n",
    " ",
    "-",
    "/",
    "0",
    "-1",
    "9" * 30,
    "1e999",
    "nan",
    "true",
    "node",
    "calculator",
    "\0",
    "\ud800",
    "é",
    "\\377",
    "\\ud800",
    'node { calculator: "X" }',
    "options",
    "node_options { ",
    "[a.b]",
    "[type.googleapis.com/a.b]",
    '"A:1:b"',
    "input_stream_info { back_edge: true }",
    "models_path",
    "{" * 200,
    "[" * 2000,
]


def cut(text: str, chance: random.Random) -> str:
    start = chance.randrange(len(text))
    return text[:start] + text[start + chance.randrange(20) :]


def insert(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    return text[:at] + chance.choice(PIECES) + text[at:]


def copy(text: str, chance: random.Random) -> str:
    start, at = chance.randrange(len(text)), chance.randrange(len(text))
    return text[:at] + text[start : start + chance.randrange(80)] + text[at:]


def swap_word(text: str, chance: random.Random) -> str:
    words = text.split(" ")
    first, second = chance.randrange(len(words)), chance.randrange(len(words))
    words[first], words[second] = words[second], words[first]
    return " ".join(words)


DAMAGES: list[Callable[[str, random.Random], str]] = [cut, insert, copy, swap_word]


@pytest.mark.parametrize("name", ["ovms_llm", "extension_options", "three_nodes", "image_loopback"])
def test_damaged_text(name: str, data: Path, register) -> None:
    register(HttpLLMCalculator="support.graph_fakes:Llm")
    text = (data / f"{name}.pbtxt").read_text()
    chance = random.Random(name)
    num_graphs = 0
    for _ in range(400):
        damaged = text
        for _ in range(chance.randint(1, 4)):
            damaged = chance.choice(DAMAGES)(damaged, chance)
        with contextlib.suppress(GraphError):
            validate(parse_graph_config(damaged, "g"), data)
            num_graphs += 1
    assert num_graphs < 400


def test_damaged_bytes(data: Path, tmp_path: Path) -> None:
    good = (data / "ovms_llm.pbtxt").read_bytes()
    chance = random.Random(0)
    path = tmp_path / "graph.pbtxt"
    num_graphs = 0
    for _ in range(200):
        damaged = bytearray(good)
        for _ in range(chance.randint(1, 5)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(GraphError):
            load_graph_config(path)
            num_graphs += 1
    assert num_graphs < 200


def test_noise(tmp_path: Path) -> None:
    chance = random.Random(1)
    path = tmp_path / "graph.pbtxt"
    for size in (1, 10, 100, 10_000):
        path.write_bytes(chance.randbytes(size))
        with pytest.raises(GraphError):
            validate(load_graph_config(path), tmp_path)
