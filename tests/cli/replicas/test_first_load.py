"""How the first load of replicas ends: with models that fail, with none, or with no answer."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.fakes import echo_graph, write_repository
from support.replicas.replicated import replicated

from server.api.replicas.backend import Backend
from server.cli.command_line import parse_command_line
from server.cli.replicas import process
from server.cli.replicas.group import ReplicaGroup
from server.cli.replicas.replica_settings import ReplicaSettings
from server.errors import ConfigError
from server.host.processors.topology import Place

PLACE = Place((0,), None, 1.0)
needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


@needs_two_cores
def test_models_that_fail_or_hang_do_not_keep_the_others_from_being_served(tmp_path: Path) -> None:
    graphs = {"echo": echo_graph(), "broken": "node {", "late": echo_graph(open_s=60.0)}
    config = write_repository(tmp_path, graphs)
    with replicated("--config_path", config, "--load_timeout_seconds", "0.5") as server:
        server.until(lambda: server.logged("Ready. To stop") == 1, "not ready")
        assert len(server.children()) == 2
        assert {server.ask(f"hello {n}")[0] for n in range(4)} == {0, 1}
        states = server.get("/v1/config")[1]
        assert "reason" in states["broken"]["model_version_status"][0]


@pytest.mark.slow
@needs_two_cores
def test_a_server_without_models_gets_ready(tmp_path: Path) -> None:
    with replicated("--config_path", write_repository(tmp_path, {})) as server:
        server.until(lambda: server.logged("Ready. To stop") == 1, "not ready")
        assert len(server.children()) == 2


async def test_a_replica_that_hangs_in_its_first_load_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "COMMAND", ("sleep", "60"))
    monkeypatch.setattr(process, "HUNG_MARGIN_S", 0.1)
    config = write_repository(tmp_path, {"echo": echo_graph()})
    line = parse_command_line(["--config_path", str(config)])
    line = replace(line, serving=replace(line.serving, stalled_loop_seconds=0.1))
    group = ReplicaGroup(line, [PLACE], tmp_path)
    with pytest.raises(ConfigError, match="replica 0: its process .* was ended by SIGKILL"):
        await group.load_all()
    await group.close(0)


async def test_nothing_is_left_of_a_cancelled_wait_for_a_replica(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "COMMAND", ("sleep", "60"))
    line = parse_command_line(["--config_path", str(tmp_path)])
    settings = ReplicaSettings(0, 1, PLACE, 0, tmp_path, "secret")
    replica = process.ReplicaProcess(settings, line, Backend(0, tmp_path / "0.http"))
    await replica.start()
    await asyncio.sleep(0.01)
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(replica.wait())
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == before
    await replica.stop(5)
