"""A server of small OpenVINO models."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fakes import echo_graph, write_graph
from support.openvino_models import (
    add_model,
    half_plus_three_model,
    identity_model,
    logarithm_model,
    sensor_model,
    slow_model,
    write_inference_graph,
)
from support.serving import Server, running_server

from server.models.config import load_config
from server.models.model_manager import ModelManager

MODELS = {
    "add": add_model,
    "org/identity": identity_model,
    "log": logarithm_model,
    "slow": slow_model,
    "half_plus_three": half_plus_three_model,
    "org/sensors": sensor_model,
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("infer")
    for name, make in MODELS.items():
        write_inference_graph(folder / name, make(), "nireq: 1" if name == "slow" else "")
    write_graph(folder / "echo", echo_graph())
    entries = [{"config": {"name": name}} for name in (*MODELS, "echo")]
    (folder / "config.json").write_text(json.dumps({"model_config_list": entries}))
    return folder


@pytest.fixture
async def server(repository: Path) -> AsyncIterator[Server]:
    manager = ModelManager(load_config(repository))
    await manager.load_all()
    async with running_server(manager) as running:
        yield running
