"""A server with two replicas that tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fakes import echo_graph, write_repository
from support.replicas.replicated import Replicated, replicated


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("replicas"), {"echo": echo_graph()})


@pytest.fixture(scope="session")
def server(config: Path) -> Iterator[Replicated]:
    environment = {**os.environ, "TMPDIR": str(config.parent)}
    with replicated("--config_path", config, env=environment) as running:
        yield running
