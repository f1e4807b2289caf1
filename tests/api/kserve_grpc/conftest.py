"""A gRPC server of small OpenVINO models and fakes, with NVIDIA's client in the same loop."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from support import tensor_fakes
from support.fakes import echo_graph, write_graph
from support.grpc_serving import running_grpc
from support.openvino_models import add_model, identity_model, slow_model, write_model
from tritonclient.grpc.aio import InferenceServerClient

from server.api.kserve_grpc.settings import GrpcSettings
from server.models.config import load_config
from server.models.model_manager import ModelManager

REPEAT_GRAPH = """
input_stream: "INFER_REQUEST:tensors"
output_stream: "INFER_RESPONSE:answers"
node {
  name: "Repeat" calculator: "./tensor_fakes.py:RepeatCalculator"
  input_stream: "INFER_REQUEST:tensors" output_stream: "INFER_RESPONSE:answers"
}
"""


@pytest.fixture(scope="package")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grpc")
    write_model(folder / "org" / "add" / "1", add_model())
    write_model(folder / "org" / "add" / "3", add_model())
    write_model(folder / "identity", identity_model())
    write_model(folder / "slow", slow_model())
    write_graph(folder / "echo", echo_graph())
    write_graph(folder / "broken", echo_graph(fail="no weights"))
    (folder / "repeat").mkdir()
    shutil.copy(tensor_fakes.__file__, folder / "repeat")
    (folder / "repeat" / "graph.pbtxt").write_text(REPEAT_GRAPH)
    names = ("org/add", "identity", "slow", "echo", "broken", "repeat")
    policy = {"model_version_policy": {"all": {}}, "target_device": "CPU"}
    entries = [{"config": {"name": n, **(policy if n == "org/add" else {})}} for n in names]
    (folder / "config.json").write_text(json.dumps({"model_config_list": entries}))
    return folder


async def load(repository: Path) -> ModelManager:
    manager = ModelManager(load_config(repository))
    await manager.load_all()
    return manager


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def manager(repository: Path) -> AsyncIterator[ModelManager]:
    """What no test closes."""
    manager = await load(repository)
    yield manager
    await manager.close(0)


@pytest_asyncio.fixture(loop_scope="package")
async def own_manager(repository: Path) -> ModelManager:
    """What a test may close."""
    return await load(repository)


@pytest.fixture
def settings() -> GrpcSettings:
    """What tests of other settings override."""
    return GrpcSettings()


@pytest_asyncio.fixture(loop_scope="package")
async def address(manager: ModelManager, settings: GrpcSettings) -> AsyncIterator[str]:
    async with running_grpc(manager, settings) as address:
        yield address


@pytest_asyncio.fixture(loop_scope="package")
async def client(address: str) -> AsyncIterator[InferenceServerClient]:
    async with InferenceServerClient(address) as client:
        yield client
