"""How much memory the KV cache may take, also inside a container."""

from pathlib import Path
from threading import Lock

CGROUP_ROOT = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def available_bytes(meminfo: Path = MEMINFO, cgroup_root: Path = CGROUP_ROOT) -> int:
    """Bytes that this process may still take: what is free, within the container's limit.

    Reads MemAvailable of /proc/meminfo (proc(5)) and the memory controller of cgroup v2 or v1
    (Linux kernel, admin-guide/cgroup-v2 and cgroup-v1/memory).
    """
    free = _meminfo_available(meminfo)
    for limit_name, usage_name in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit = _read_int(cgroup_root / limit_name)
        usage = _read_int(cgroup_root / usage_name)
        if limit is not None and usage is not None:
            free = min(free, max(0, limit - usage))
    return free


def _meminfo_available(path: Path) -> int:
    for line in path.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{path} has no MemAvailable line")


def _read_int(path: Path) -> int | None:
    """The number in a file; None without the file or where it says "max", that is no limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


class Reservations:
    """Memory that this process promised to its KV caches, which the system still counts as free."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._total = 0

    @property
    def total_bytes(self) -> int:
        """Bytes reserved now, written or not."""
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
