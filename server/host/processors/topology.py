"""Cores and NUMA nodes, and how processes divide them.

Reads what Linux shows below /sys/devices/system (Linux kernel, admin-guide/cputopology and
ABI/stable/sysfs-devices-node).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import TypeVar

__all__ = ["Core", "Place", "divide", "format_cpus", "parse_cpus", "read_cores"]

T = TypeVar("T")

SYSTEM = Path("/sys/devices/system")
# The node of CPUs that no node lists: a container may hide the nodes.
UNKNOWN_NODE = -1


@dataclass(frozen=True, slots=True)
class Core:
    """A physical core: the CPUs of it that may be used, which are its hyper-threads.

    `memory_bytes` is its part of the memory of its NUMA node; 0 where that is not known.
    """

    cpus: tuple[int, ...]
    node: int
    memory_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """The CPUs of one process. `memory_share` is its part of the memory of all processes.

    `node` is the NUMA node for its memory; None if it has CPUs of several, or there is only one.
    """

    cpus: tuple[int, ...]
    node: int | None
    memory_share: float


def read_cores(allowed: frozenset[int], system: Path = SYSTEM) -> list[Core]:
    """The cores with CPUs that are allowed and not offline, in the order of their nodes."""
    online = _read_cpus(system / "cpu/online")
    usable = allowed & online if online else allowed
    cores = []
    for node, cpus, memory_bytes in _nodes(usable, system):
        siblings = {_siblings(cpu, system) & cpus for cpu in cpus}
        # Two cores never share a CPU, whatever a virtual machine tells.
        found = _distinct(sorted(siblings, key=min))
        cores += [Core(tuple(sorted(core)), node, memory_bytes / len(found)) for core in found]
    return cores


def divide(cores: Sequence[Core], num_places: int) -> list[Place]:
    """Give each process as many cores as the others, on as few nodes as possible.

    Raises ValueError if there are more processes than cores.
    """
    if not 1 <= num_places <= len(cores):
        raise ValueError(f"possible: 1 to {len(cores)}, the number of cores")
    nodes = [list(group) for _, group in groupby(cores, key=lambda core: core.node)]
    if num_places % len(nodes) == 0 and all(len(n) >= num_places // len(nodes) for n in nodes):
        parts = [part for node in nodes for part in _split(node, num_places // len(nodes))]
    elif len(nodes) % num_places == 0:
        groups = _split(nodes, num_places)
        parts = [[core for node in group for core in node] for group in groups]
    else:
        parts = _split(cores, num_places)
    return list(_places(parts, has_nodes=len(nodes) > 1))


def _places(parts: Sequence[Sequence[Core]], *, has_nodes: bool) -> Iterator[Place]:
    knows_memory = all(core.memory_bytes for part in parts for core in part)
    weights = [sum(core.memory_bytes if knows_memory else 1 for core in part) for part in parts]
    for part, weight in zip(parts, weights, strict=True):
        nodes = {core.node for core in part}
        # The memory of a node without any cannot be used.
        is_bound = has_nodes and len(nodes) == 1 and part[0].memory_bytes > 0
        cpus = tuple(sorted(cpu for core in part for cpu in core.cpus))
        yield Place(cpus, part[0].node if is_bound else None, weight / sum(weights))


def _split(items: Sequence[T], num_parts: int) -> list[list[T]]:
    """Neighbours together, and no part larger than another by more than one."""
    bounds = [index * len(items) // num_parts for index in range(num_parts + 1)]
    return [list(items[start:end]) for start, end in pairwise(bounds)]


def _nodes(usable: frozenset[int], system: Path) -> Iterator[tuple[int, frozenset[int], float]]:
    """Number, usable CPUs and memory of each node that has such CPUs."""
    left = usable
    folders = {int(path.name[4:]): path for path in system.glob("node/node[0-9]*")}
    for number, folder in sorted(folders.items()):
        cpus = _read_cpus(folder / "cpulist") & left
        if cpus:
            left -= cpus
            yield number, cpus, _memory_bytes(folder)
    if left:
        yield UNKNOWN_NODE, left, 0.0


def _siblings(cpu: int, system: Path) -> frozenset[int]:
    folder = system / f"cpu/cpu{cpu}/topology"
    listed = _read_cpus(folder / "thread_siblings_list") or _read_cpus(folder / "core_cpus_list")
    return listed | {cpu}


def _distinct(cores: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    seen: frozenset[int] = frozenset()
    found = []
    for core in cores:
        if core - seen:
            found.append(core - seen)
        seen |= core
    return found


def _memory_bytes(node: Path) -> float:
    text = _read(node / "meminfo")
    found = re.search(r"MemTotal:\s*(\d+) kB", text)
    return int(found[1]) * 1024.0 if found else 0.0


def _read_cpus(path: Path) -> frozenset[int]:
    return parse_cpus(_read(path))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def parse_cpus(text: str) -> frozenset[int]:
    """The CPUs of a list such as 0-3,8; those that cannot be read are left out."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def format_cpus(cpus: Sequence[int]) -> str:
    """The list in Linux's form: 0-3,8."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
