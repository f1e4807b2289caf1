"""Free memory by the kernel's and the container's files."""

from pathlib import Path

import pytest

from server.host.machine_share import MACHINE_SHARE
from server.host.memory import Reservations, available_bytes

KIB, MIB, GIB = 2**10, 2**20, 2**30


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal: {16 * MIB} kB\nMemFree: 1 kB\nMemAvailable:  {8 * MIB} kB\n")
    return path


def write(folder: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return folder / "cgroup"


def test_without_a_container_the_system_decides(tmp_path: Path, meminfo: Path) -> None:
    assert available_bytes(meminfo, tmp_path / "none") == 8 * GIB


@pytest.mark.parametrize(
    ("limit", "usage", "expected"),
    [
        (4 * GIB, GIB, 3 * GIB),
        (64 * GIB, GIB, 8 * GIB),
        (GIB, 2 * GIB, 0),
        ("max", GIB, 8 * GIB),
    ],
)
def test_cgroup_v2(tmp_path: Path, meminfo: Path, limit: object, usage: int, expected: int) -> None:
    cgroup = write(tmp_path, {"memory.max": limit, "memory.current": usage})
    assert available_bytes(meminfo, cgroup) == expected


@pytest.mark.parametrize(
    ("limit", "expected"), [(4 * GIB, 3 * GIB), (9223372036854771712, 8 * GIB)]
)
def test_cgroup_v1(tmp_path: Path, meminfo: Path, limit: int, expected: int) -> None:
    cgroup = write(
        tmp_path,
        {"memory/memory.limit_in_bytes": limit, "memory/memory.usage_in_bytes": GIB},
    )
    assert available_bytes(meminfo, cgroup) == expected


V1 = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat")
V2 = ("memory.max", "memory.current", "memory.stat")


@pytest.mark.parametrize(
    ("names", "key"), [(V2, "inactive_file"), (V1, "total_inactive_file")], ids=["v2", "v1"]
)
def test_files_that_were_read_make_way(
    tmp_path: Path, meminfo: Path, names: tuple[str, str, str], key: str
) -> None:
    stat = f"anon {GIB}\n{key} {2 * GIB}\nactive_file 5"
    cgroup = write(tmp_path, dict(zip(names, (4 * GIB, 3 * GIB, stat), strict=True)))
    assert available_bytes(meminfo, cgroup) == 3 * GIB


def test_a_kernel_without_mem_available_is_told(tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal: 5 kB\n")
    with pytest.raises(OSError, match="has no MemAvailable line"):
        available_bytes(path, tmp_path)


def test_this_machine_has_memory() -> None:
    assert available_bytes() > 0


def test_reservations_add_up() -> None:
    reservations = Reservations()
    reservations.add(5)
    reservations.add(7)
    reservations.remove(5)
    assert reservations.total_bytes == 7


def test_a_process_that_has_a_share_of_the_machine_takes_no_more(
    tmp_path: Path, meminfo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MACHINE_SHARE, "memory_bytes", MIB)
    # What this process itself holds counts.
    assert available_bytes(meminfo, tmp_path / "none") == 0
    monkeypatch.setattr(MACHINE_SHARE, "memory_bytes", 3 * GIB)
    monkeypatch.setattr("server.host.memory._private_bytes", lambda: GIB)
    assert available_bytes(meminfo, tmp_path / "none") == 2 * GIB
