"""Models that cannot be loaded: the server stays up, says why, and serves the others."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.server_process import server_process

WEIGHTS = "openvino_model.bin"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def edit_graph(old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "graph.pbtxt"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


DAMAGES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "no_weights": (lambda d: (d / WEIGHTS).unlink(), [WEIGHTS, "no such file"]),
    "cut_weights": (lambda d: truncate(d / WEIGHTS), ["openvino_model.xml"]),
    "no_tokenizer": (
        lambda d: (d / "openvino_tokenizer.xml").unlink(),
        ["openvino_tokenizer.xml", "no such file"],
    ),
    "garbage_xml": (
        lambda d: (d / "openvino_model.xml").write_text("<net"),
        ["openvino_model.xml", "cannot read"],
    ),
    "bad_json": (lambda d: (d / "config.json").write_text("{"), ["config.json", "JSON"]),
    "bad_option": (
        edit_graph("cache_size:", "cache_sise:"),
        ["graph.pbtxt", "cache_sise", "cache_size"],
    ),
    "bad_calculator": (
        edit_graph('"TokenizerCalculator"', '"TokeniserCalculator"'),
        ["TokeniserCalculator", "TokenizerCalculator"],
    ),
    "bad_device": (edit_graph('device: "CPU"', 'device: "QPU"'), ["QPU", "CPU"]),
    "bad_property": (edit_graph("KV_CACHE_PRECISION", "KV_CACHE_PRECISIONS"), ["KV_CACHE"]),
    "huge_cache": (edit_graph("cache_size: 0", "cache_size: 99999"), ["99999 GB", "free"]),
}


@pytest.fixture(scope="module")
def damaged(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one sound model and one for each damage."""
    import json

    folder = tmp_path_factory.mktemp("damaged")
    for name in ["sound", *DAMAGES]:
        shutil.copytree(chat_model, folder / name)
    for name, (damage, _) in DAMAGES.items():
        damage(folder / name)
    entries = [{"config": {"name": name}} for name in [*DAMAGES, "sound"]]
    (folder / "config.json").write_text(json.dumps({"model_config_list": entries}))
    return folder


def test_every_reason_is_told_and_the_sound_model_serves(damaged: Path) -> None:
    with server_process("--config_path", damaged / "config.json") as server:
        status, states = server.get("/v1/config")
        assert status == 200
        for name, (_, telling) in DAMAGES.items():
            (version,) = states[name]["model_version_status"]
            assert version["state"] == "LOADING"
            assert version["status"]["error_code"] == "FAILED_PRECONDITION"
            for words in telling:
                assert words in version["reason"], name
            status, answer = server.post("/v3/completions", {"model": name, "prompt": "Hi"})
            assert status == 503
            assert telling[0] in answer["error"]["message"]
        status, answer = server.post("/v3/completions", {"model": "sound", "prompt": "Hi"})
        assert status == 200
        assert answer["usage"]["completion_tokens"] > 0
        assert server.stop() == 0
        assert not [line for line in server.log if "Traceback" in line]
