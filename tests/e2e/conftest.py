"""The bundled model, really exported, in a repository with several graphs; and a server on it."""

from collections.abc import Iterator
from pathlib import Path

import bundle
import pytest
from support.e2e_graphs import ONE_NODE_GRAPH, add_to_config, write_model
from support.e2e_names import SMALL_BLOCKS
from support.made_models import make_once
from support.server_process import ROOT, ServerProcess, server_process


@pytest.fixture(scope="session")
def chat_model(hf_model: Path) -> Path:
    """What the exporter makes of the bundled model today: int8_asym weights, u8 KV cache."""
    sources = [*hf_model.iterdir(), *(ROOT / "export_models").rglob("*.py"), Path(bundle.__file__)]
    return make_once("chat", sources, bundle.export) / bundle.NAME


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


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[ServerProcess]:
    """A server with all three models; the files share it, so none may change or stop it."""
    with server_process("--config_path", repository / "config.json") as process:
        yield process
