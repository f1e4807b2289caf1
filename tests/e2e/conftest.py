"""The bundled model, really exported, in a repository with several graphs; and a server on it."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.e2e_graphs import ONE_NODE_GRAPH, add_to_config, write_model
from support.e2e_names import SMALL_BLOCKS
from support.server_process import ROOT, ServerProcess, server_process

SOURCE = ROOT / "demos" / "tiny_chat" / "model"
CACHE = ROOT / "build" / "test_models"


@pytest.fixture(scope="session")
def chat_model() -> Path:
    """Folder of the bundled model, exported once by the real command: int8 weights, u8 KV cache."""
    state = hashlib.sha256()
    for path in sorted([*SOURCE.iterdir(), *(ROOT / "export_models").rglob("*.py")]):
        state.update(path.read_bytes())
    repository = CACHE / state.hexdigest()[:16]
    command = [sys.executable, "-m", "export_models.export_model", "text_generation"]
    command += ["--source_model", str(SOURCE), "--model_name", "tiny_chat"]
    command += ["--weight-format", "int8", "--kv_cache_precision", "u8"]
    command += ["--model_repository_path", str(repository)]
    command += ["--config_file_path", str(repository / "config.json")]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return repository / "tiny_chat"


@pytest.fixture(scope="session")
def repository(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_chat` (three nodes), `one_node` (OVMS's form) and `small` (few blocks) in a config."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "tiny_chat").symlink_to(chat_model)
    add_to_config(folder, "tiny_chat")
    write_model(folder, "one_node", ONE_NODE_GRAPH.format(models_path=chat_model, options=""))
    small = ONE_NODE_GRAPH.format(
        models_path=chat_model, options=f"num_kv_blocks: {SMALL_BLOCKS}, max_num_seqs: 16"
    )
    write_model(folder, "small", small)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[ServerProcess]:
    """A server with all three models."""
    with server_process("--config_path", repository / "config.json") as process:
        yield process
