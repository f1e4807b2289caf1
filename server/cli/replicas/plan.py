"""Which part of the machine each replica gets."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from server.cli.replicas.arguments import AUTO
from server.errors import ConfigError
from server.host.processors.cpu_quota import CGROUP_ROOT, cpu_quota
from server.host.processors.topology import SYSTEM, Place, divide, format_cpus, read_cores

__all__ = ["describe_places", "plan_places"]


def plan_places(
    replicas: int | str, system: Path = SYSTEM, cgroup_root: Path = CGROUP_ROOT
) -> Sequence[Place]:
    """The place of each replica; a single one is not bound. Raises ConfigError."""
    if replicas == 1:
        return ()
    if not hasattr(os, "sched_getaffinity"):
        raise ConfigError(
            f"--replicas {replicas}: processes can be kept on their CPUs only on Linux"
        )
    cores = read_cores(frozenset(os.sched_getaffinity(0)), system)
    if isinstance(replicas, str):
        assert replicas == AUTO
        quota = cpu_quota(cgroup_root) or math.inf
        # A replica that has no whole processor is slower than one for all.
        count = int(max(1, min(len({core.node for core in cores}), quota)))
    else:
        count = replicas
    if count == 1:
        return ()
    try:
        return divide(cores, count)
    except ValueError as error:
        raise ConfigError(f"--replicas {replicas}: {error}") from error


def describe_places(places: Sequence[Place]) -> list[str]:
    """A line for each replica."""
    return [
        f"replica {number}: CPUs {format_cpus(place.cpus)}"
        + ("" if place.node is None else f", memory of NUMA node {place.node}")
        for number, place in enumerate(places)
    ]
