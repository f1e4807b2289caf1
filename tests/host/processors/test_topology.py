"""How processes divide the cores of machines that this one is not, told by a made tree of /sys."""

from pathlib import Path

import pytest
from support.replicas.machines import make_system, make_two_sockets

from server.host.processors.topology import Place, divide, format_cpus, parse_cpus, read_cores


def places(root: Path, num_cpus: int, num_places: int) -> list[Place]:
    return divide(read_cores(frozenset(range(num_cpus)), root), num_places)


def cpus_of(found: list[Place]) -> list[str]:
    return [format_cpus(place.cpus) for place in found]


@pytest.fixture
def two_sockets(tmp_path: Path) -> Path:
    return make_two_sockets(tmp_path)


def test_one_process_for_each_socket(two_sockets: Path) -> None:
    assert places(two_sockets, 256, 2) == [
        Place((*range(64), *range(128, 192)), 0, 0.5),
        Place((*range(64, 128), *range(192, 256)), 1, 0.5),
    ]


def test_several_processes_for_each_socket_keep_threads_of_a_core_together(
    two_sockets: Path,
) -> None:
    found = places(two_sockets, 256, 4)
    assert cpus_of(found) == ["0-31,128-159", "32-63,160-191", "64-95,192-223", "96-127,224-255"]
    assert [place.node for place in found] == [0, 0, 1, 1]


def test_processes_that_are_no_multiple_of_the_nodes_get_as_many_cores_each(
    two_sockets: Path,
) -> None:
    found = places(two_sockets, 256, 3)
    assert [len(place.cpus) for place in found] == [84, 86, 86]
    # The one in the middle has cores of both nodes, so its memory is kept on none.
    assert [place.node for place in found] == [0, None, 1]
    assert sum(place.memory_share for place in found) == pytest.approx(1)


def test_one_process_for_several_nodes(tmp_path: Path) -> None:
    root = make_system(tmp_path, {n: (f"{4 * n}-{4 * n + 3}", 32) for n in range(4)})
    found = places(root, 16, 2)
    assert cpus_of(found) == ["0-7", "8-15"]
    assert [place.node for place in found] == [None, None]


def test_a_machine_without_nodes(tmp_path: Path) -> None:
    assert places(tmp_path, 4, 2) == [Place((0, 1), None, 0.5), Place((2, 3), None, 0.5)]


def test_offline_cpus_and_those_that_a_container_may_not_use_are_left_out(
    two_sockets: Path,
) -> None:
    (two_sockets / "cpu/online").write_text("0-191")
    cores = read_cores(frozenset(range(60, 70)) | {188, 192}, two_sockets)
    found = divide(cores, 2)
    # 192 is offline. 188 is the second thread of 60.
    assert cpus_of(found) == ["60-63,188", "64-69"]
    assert [len(core.cpus) for core in cores] == [2, 1, 1, 1, 1, 1, 1, 1, 1, 1]


def test_uneven_nodes_share_memory_by_what_they_have(tmp_path: Path) -> None:
    root = make_system(tmp_path, {0: ("0-5", 96), 1: ("6-7", 32)})
    found = places(root, 8, 2)
    assert cpus_of(found) == ["0-5", "6-7"]
    assert [place.memory_share for place in found] == [0.75, 0.25]


def test_a_node_with_fewer_cores_than_its_processes(tmp_path: Path) -> None:
    root = make_system(tmp_path, {0: ("0-6", 96), 1: ("7", 32)})
    assert cpus_of(places(root, 8, 4)) == ["0-1", "2-3", "4-5", "6-7"]


def test_nodes_without_cpus_or_without_memory(tmp_path: Path) -> None:
    root = make_system(tmp_path, {0: ("0-3", 64), 1: ("4-7", 0), 2: ("", 512)})
    found = places(root, 8, 2)
    assert cpus_of(found) == ["0-3", "4-7"]
    assert [place.node for place in found] == [0, None]
    assert [place.memory_share for place in found] == [0.5, 0.5]


def test_cpus_that_no_node_lists(tmp_path: Path) -> None:
    root = make_system(tmp_path, {0: ("0-1", 64)})
    found = places(root, 4, 2)
    assert cpus_of(found) == ["0-1", "2-3"]
    assert [place.node for place in found] == [0, None]


def test_no_more_processes_than_cores(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="possible: 1 to 2, the number of cores"):
        places(make_system(tmp_path, {0: ("0-3", 8)}, {0: "0-1", 1: "0-1", 2: "2-3"}), 4, 3)


def test_lists_of_cpus() -> None:
    assert parse_cpus("0-2,7\n") == {0, 1, 2, 7}
    assert parse_cpus("\n") == frozenset()
    assert format_cpus([7, 0, 1, 2]) == "0-2,7"
