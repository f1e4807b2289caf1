"""A server whose traces go to a collector in the same process: bundled models, and fakes."""

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from support import traced_nodes
from support.fakes import echo_graph, write_graph
from support.openvino_models import add_model, write_model
from support.serving import Server, running_server

from server.api.settings import HttpSettings
from server.api.tracing.settings import start_tracing
from server.models.bundled import find_bundled_model
from server.models.config import load_config
from server.models.model_manager import ModelManager

if TYPE_CHECKING:
    from support.otlp_receiver import Receiver

    from server.api.tracing.export import TraceExport

BUNDLED = ("tiny_chat", "tiny_embedder", "tiny_reranker")


@pytest.fixture(scope="package")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracing")
    write_graph(folder / "echo", echo_graph())
    (folder / "calls").mkdir()
    shutil.copy(traced_nodes.__file__, folder / "calls")
    (folder / "calls" / "graph.pbtxt").write_text(traced_nodes.GRAPH)
    write_model(folder / "add", add_model())
    paths = {name: str(find_bundled_model(name)) for name in BUNDLED}
    paths |= {name: name for name in ("echo", "calls", "add")}
    entries = [{"config": {"name": name, "base_path": path}} for name, path in paths.items()]
    (folder / "config.json").write_text(json.dumps({"model_config_list": entries}))
    return folder


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def manager(repository: Path) -> AsyncIterator[ModelManager]:
    manager = ModelManager(load_config(repository))
    await manager.load_all()
    yield manager
    await manager.close(0)


@pytest.fixture(scope="package")
def receiver() -> "Iterator[Receiver]":
    # Both are imported where OpenTelemetry is installed, which the tests have made sure of.
    from support.otlp_receiver import receiving

    with receiving() as found:
        yield found


@pytest.fixture(scope="package")
def traces(receiver: "Receiver") -> "Iterator[TraceExport]":
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        found = start_tracing(receiver.url)
    assert found is not None
    yield found
    found.stop()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def server(manager: ModelManager, traces: "TraceExport") -> AsyncIterator[Server]:
    async with running_server(manager, HttpSettings(tracer=traces.tracer)) as running:
        yield running
