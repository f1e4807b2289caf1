"""The file that remembers the sizes of steps: shared, broken, and of another machine."""

import json
from pathlib import Path

import pytest

from server.engine.config import EngineConfig
from server.engine.model.tuning import saved_entries
from server.engine.model.tuning.saved_sizes import SIZES_FILE, SavedSizes, SizeUse


def open_sizes(folder: Path) -> SavedSizes:
    return SavedSizes(EngineConfig(folder), "CPU", {})


def test_uses_add_up_and_costs_are_the_last_ones(folder: Path) -> None:
    open_sizes(folder).add({1: 5, 8: 2}, {1: 0.5, 16: 0.9})
    open_sizes(folder).add({8: 1}, {1: 0.25})
    assert open_sizes(folder).find() == {
        1: SizeUse(5, 0.25),
        8: SizeUse(3, None),
        16: SizeUse(0, 0.9),
    }


def test_two_servers_at_once_add_to_one_file(folder: Path) -> None:
    first, second = open_sizes(folder), open_sizes(folder)
    for _ in range(3):
        first.add({1: 1}, {})
        second.add({1: 1, 2: 1}, {})
    assert first.find() == {1: SizeUse(6, None), 2: SizeUse(3, None)}


def test_old_traffic_fades(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.engine.model.tuning.saved_sizes.MAX_USES", 100)
    sizes = open_sizes(folder)
    sizes.add({1: 100}, {})
    sizes.add({2: 100}, {})
    sizes.add({2: 100}, {})
    assert sizes.find() == {1: SizeUse(25, None), 2: SizeUse(75, None)}


@pytest.mark.parametrize(
    "sizes",
    [
        "[]",
        '{"1": [1]}',
        '{"1": [true, null]}',
        '{"1": [-1, null]}',
        '{"-1": [1, null]}',
        '{"1": [1, NaN]}',
        '{"1": [1, -0.5]}',
        '{"1": [1, "0.5"]}',
    ],
)
def test_an_entry_that_makes_no_sense_is_ignored(folder: Path, sizes: str) -> None:
    open_sizes(folder).add({1: 5}, {})
    (entry,) = json.loads((folder / SIZES_FILE).read_text())
    text = json.dumps([{**entry, "sizes": "here"}]).replace('"here"', sizes)
    (folder / SIZES_FILE).write_text(text)
    assert open_sizes(folder).find() == {}
    open_sizes(folder).add({1: 1}, {})
    assert open_sizes(folder).find() == {1: SizeUse(1, None)}


@pytest.mark.parametrize("text", ["", "{", "[1, {}]", '{"a": 1}', "[" * 100_000, "\x00\xff"])
def test_a_broken_file_is_replaced(folder: Path, text: str) -> None:
    (folder / SIZES_FILE).write_text(text)
    assert open_sizes(folder).find() == {}
    open_sizes(folder).add({4: 1}, {})
    assert open_sizes(folder).find() == {4: SizeUse(1, None)}


def test_without_a_file_that_can_be_written_nothing_is_remembered(folder: Path) -> None:
    (folder / SIZES_FILE).mkdir()
    open_sizes(folder).add({4: 1}, {})
    assert open_sizes(folder).find() == {}


def test_another_case_has_sizes_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_sizes(folder).add({4: 1}, {})
    config = EngineConfig(folder)
    assert SavedSizes(config, "CPU", {"KEY_CACHE_QUANT_MODE": "BY_TOKEN"}).find() == {}
    monkeypatch.setattr(saved_entries, "has_vnni", lambda: None)
    assert open_sizes(folder).find() == {}
    monkeypatch.undo()
    monkeypatch.setattr(saved_entries.ov, "get_version", lambda: "another")
    assert open_sizes(folder).find() == {}
    open_sizes(folder).add({2: 1}, {})
    monkeypatch.undo()
    assert open_sizes(folder).find() == {4: SizeUse(1, None)}
