"""A model whose answers are wrong is not listed, not loaded, and said to be so."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.server_process import ROOT, server_process


@pytest.fixture
def wrong_model(chat_model: Path, tmp_path: Path) -> Path:
    """The bundled model, but with chunks in config.json that its graph does not have."""
    folder = Path(shutil.copytree(chat_model, tmp_path / "models" / "wrong"))
    (folder / "graph.pbtxt").unlink()
    (folder / ".verified.json").unlink(missing_ok=True)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    kinds = ["chunked_attention"] * config["num_hidden_layers"]
    path.write_text(json.dumps({**config, "attention_chunk_size": 32, "layer_types": kinds}))
    return folder


def run(module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_wrong_model_is_not_listed(wrong_model: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    export = ["text_generation", "--source_model", wrong_model, "--config_file_path", config]
    export += ["--model_repository_path", tmp_path / "models", "--model_name", "wrong"]
    found = run("export_models.export_model", *export)
    assert found.returncode == 1
    assert "the model is not listed; --no_verify lists it" in found.stderr
    assert "each prompt alone: from token" in found.stdout
    assert not config.exists()
    found = run("export_models.export_model", *export, "--no_verify")
    assert found.returncode == 0
    assert "warning: the server refuses it: wrong: graph 'wrong', node " in found.stdout
    assert "serve it" not in found.stdout
    assert "wrong" in config.read_text()
    with server_process("--config_path", config) as server:
        _, states = server.get("/v1/config")
    reason = states["wrong"]["model_version_status"][0]["reason"]
    assert "its answers are wrong: " in reason
    assert "each prompt alone: from token" in reason


def test_the_command_verifies_a_model(chat_model: Path, wrong_model: Path) -> None:
    (chat_model / ".verified.json").unlink(missing_ok=True)
    for words in ("log probabilities differ by at most", "has not changed since"):
        found = run("server", "--verify", chat_model)
        assert found.returncode == 0
        assert words in found.stderr
    found = run("server", "--verify", wrong_model)
    assert found.returncode == 1
    assert "answers differ from those of the exported model" in found.stderr


def test_v1_config_shows_it(chat_model: Path) -> None:
    assert run("server", "--verify", chat_model).returncode == 0
    with server_process("--model_name", "m", "--model_path", chat_model) as server:
        _, states = server.get("/v1/config")
    nodes = states["m"]["model_version_status"][0]["nodes"].values()
    (verified,) = [node["verified"] for node in nodes if "verified" in node]
    assert (verified["passed"], verified["longest"] > 300) == (True, True)
