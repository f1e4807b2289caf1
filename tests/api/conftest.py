"""A server of fake models."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.fakes import RAW_GRAPH, describe_graph, echo_graph, parsed_graph, write_repository
from support.serving import Server, running_server

from server.api.settings import HttpSettings
from server.models.config import load_config
from server.models.model_manager import ModelManager

GRAPHS = {
    "echo": echo_graph(),
    "org/describe": describe_graph(),
    "parsed": parsed_graph(),
    "raw": RAW_GRAPH,
    "raw/deep": RAW_GRAPH,
    "broken": echo_graph(fail="no weights"),
}


@pytest.fixture
def settings() -> HttpSettings:
    """What tests of other settings override."""
    return HttpSettings()


@pytest.fixture
async def server(tmp_path: Path, settings: HttpSettings) -> AsyncIterator[Server]:
    manager = ModelManager(load_config(write_repository(tmp_path, GRAPHS)))
    await manager.load_all()
    async with running_server(manager, settings) as running:
        yield running
