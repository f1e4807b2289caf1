"""What `--replicas auto` gives each replica, on a made machine of two NUMA nodes with 64 cores."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.fakes import echo_graph, write_repository
from support.replicas.machines import make_system, make_two_sockets

from server.cli.command_line import parse_command_line
from server.cli.replicas import group
from server.cli.replicas.arguments import AUTO
from server.cli.replicas.plan import describe_places, plan_places
from server.host.processors.topology import Place

GIB = 2**30


def plan(
    monkeypatch: pytest.MonkeyPatch, system: Path, num_cpus: int, quota: str = "max"
) -> Sequence[Place]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(num_cpus)))
    (system / "cpu.max").write_text(f"{quota} 100000\n")
    return plan_places(AUTO, system, cgroup_root=system)


def test_each_node_has_a_replica_with_its_cores_and_its_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places = plan(monkeypatch, make_two_sockets(tmp_path), 256)
    assert describe_places(places) == [
        "replica 0: CPUs 0-63,128-191, memory of NUMA node 0",
        "replica 1: CPUs 64-127,192-255, memory of NUMA node 1",
    ]
    monkeypatch.setattr(group, "available_bytes", lambda: 480 * GIB)
    config = write_repository(tmp_path / "models", {"echo": echo_graph()})
    line = parse_command_line(["--config_path", str(config), "--replicas", AUTO])
    settings = group.ReplicaGroup(line, places, tmp_path).settings
    assert [each.memory_bytes for each in settings] == [240 * GIB, 240 * GIB]
    assert [each.place for each in settings] == places


def test_a_quota_of_the_container_is_more_than_its_nodes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert len(plan(monkeypatch, make_two_sockets(tmp_path), 256, "800000")) == 2
    # A replica without a whole core is slower than one process for all.
    assert plan(monkeypatch, tmp_path, 256, "150000") == ()


def test_a_container_with_cores_of_one_node_is_not_divided(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert plan(monkeypatch, make_two_sockets(tmp_path), 64) == ()


def test_four_nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nodes = {n: (f"{8 * n}-{8 * n + 7}", 64) for n in range(4)}
    places = plan(monkeypatch, make_system(tmp_path, nodes), 32)
    assert [place.node for place in places] == [0, 1, 2, 3]
