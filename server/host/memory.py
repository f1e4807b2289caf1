"""How much memory is free, also inside a container, and what KV caches have reserved of it."""

from pathlib import Path
from threading import Lock

from server.host.machine_share import MACHINE_SHARE

CGROUP_ROOT = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def available_bytes(meminfo: Path = MEMINFO, cgroup_root: Path = CGROUP_ROOT) -> int:
    """Bytes that this process may still take: what is free, within the container's limit.

    Where processes divide the machine, it is at most what is left of this one's share.

    Reads MemAvailable of /proc/meminfo (proc(5)) and the memory controller of cgroup v2 or v1
    (Linux kernel, admin-guide/cgroup-v2 and cgroup-v1/memory). The page cache of a container, its
    model files for example, counts as used there, but the kernel can reclaim it.
    """
    kilobytes = _find_number(meminfo, "MemAvailable:")
    if kilobytes is None:
        raise OSError(f"{meminfo} has no MemAvailable line")
    free = kilobytes * 1024
    for limit_name, usage_name, stat_name, cache_key in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    ):
        limit = _read_int(cgroup_root / limit_name)
        usage = _read_int(cgroup_root / usage_name)
        if limit is not None and usage is not None:
            reclaimable = _find_number(cgroup_root / stat_name, cache_key) or 0
            free = min(free, max(0, limit - usage + reclaimable))
    share = MACHINE_SHARE.memory_bytes
    return free if share is None else min(free, max(0, share - _private_bytes()))


def resident_bytes(status: Path = Path("/proc/self/status")) -> int:
    """Bytes of memory that this process takes, files that it maps included (proc(5)); or 0."""
    return (_find_number(status, "VmRSS:") or 0) * 1024


def _private_bytes() -> int:
    """Memory of this process without the files that it maps, whose pages the kernel can reclaim."""
    return (_find_number(Path("/proc/self/status"), "RssAnon:") or 0) * 1024


def _find_number(path: Path, key: str) -> int | None:
    """The number after a key at the start of a line; None without the file or the key."""
    if not path.is_file():
        return None
    lines = (line.split() for line in path.read_text().splitlines())
    return next((int(words[1]) for words in lines if words[:1] == [key]), None)


def _read_int(path: Path) -> int | None:
    """The number in a file; None without the file, or where it says "max", which means no limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


class Reservations:
    """Memory that KV caches of this process reserved; the system calls it free until it is used."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._total = 0

    @property
    def total_bytes(self) -> int:
        """Bytes reserved now, used or not."""
        return self._total

    def add(self, num_bytes: int) -> None:
        """Count a reservation."""
        with self._lock:
            self._total += num_bytes

    def remove(self, num_bytes: int) -> None:
        """Stop counting a reservation."""
        with self._lock:
            self._total -= num_bytes


RESERVATIONS = Reservations()


class MemoryBudget:
    """What the operator lets the model that is being loaded take beyond the size of its files.

    `left_bytes` is None without a limit.
    """

    def __init__(self) -> None:
        self.left_bytes: int | None = None

    def limit(self, num_bytes: int) -> int:
        """So many bytes, or what is left of the budget."""
        return num_bytes if self.left_bytes is None else min(num_bytes, self.left_bytes)


MEMORY_BUDGET = MemoryBudget()
