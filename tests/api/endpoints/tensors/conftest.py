"""A server of small OpenVINO models."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import openvino as ov
import pytest
from support.compiled_once import compile_once
from support.fakes import echo_graph, write_graph
from support.openvino_models import (
    add_model,
    identity_model,
    logarithm_model,
    slow_model,
    write_inference_graph,
)
from support.serving import Server, running_server

from calculators import openvino_inference_calculator
from server.models.config import load_config
from server.models.model_manager import ModelManager

MODELS = {
    "add": add_model,
    "org/identity": identity_model,
    "log": logarithm_model,
    "slow": slow_model,
}


@pytest.fixture(scope="module")
def models() -> Mapping[str, Callable[[], ov.Model]]:
    """What a file may override: each test loads all of them."""
    return MODELS


@pytest.fixture(scope="module")
def repository(
    models: Mapping[str, Callable[[], ov.Model]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("infer")
    for name, make in models.items():
        write_inference_graph(folder / name, make(), "nireq: 1" if name == "slow" else "")
    write_graph(folder / "echo", echo_graph())
    entries = [{"config": {"name": name}} for name in (*models, "echo")]
    (folder / "config.json").write_text(json.dumps({"model_config_list": entries}))
    return folder


@pytest.fixture(autouse=True)
def share_compiled_models(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_once(monkeypatch, openvino_inference_calculator, "compile_model_file")


@pytest.fixture
async def server(repository: Path) -> AsyncIterator[Server]:
    manager = ModelManager(load_config(repository))
    await manager.load_all()
    async with running_server(manager) as running:
        yield running
