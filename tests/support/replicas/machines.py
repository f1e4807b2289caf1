"""Machines that this one is not, told by a made tree of /sys/devices/system."""

from pathlib import Path


def make_system(
    root: Path,
    nodes: dict[int, tuple[str, int]],
    siblings: dict[int, str] | None = None,
    online: str = "",
) -> Path:
    """`nodes` have a list of CPUs and GB of memory; `siblings` the CPUs of each CPU's core."""
    for number, (cpus, memory_gb) in nodes.items():
        folder = root / f"node/node{number}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{cpus}\n")
        size = f"Node {number} MemTotal:       {memory_gb * 10**6} kB\n"
        (folder / "meminfo").write_text(f"{size}Node {number} MemFree: 1 kB\n")
    for cpu, listed in (siblings or {}).items():
        folder = root / f"cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{listed}\n")
    if online:
        (root / "cpu").mkdir(exist_ok=True)
        (root / "cpu/online").write_text(f"{online}\n")
    return root


def make_two_sockets(root: Path) -> Path:
    """2 x 64 cores of two threads: Linux numbers the second threads from 128."""
    siblings = {cpu: f"{cpu % 128},{cpu % 128 + 128}" for cpu in range(256)}
    nodes = {0: ("0-63,128-191", 256), 1: ("64-127,192-255", 256)}
    return make_system(root, nodes, siblings, "0-255")
