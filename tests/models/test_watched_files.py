"""What counts as a change of a file or a folder."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from server.models.watched_files import MAX_HASHED_BYTES, WatchedFiles


def watch(*paths: Path) -> WatchedFiles:
    files = WatchedFiles()
    for path in paths:
        files.add(path)
    return files


def changed_names(files: WatchedFiles) -> list[str]:
    return sorted(path.name for path, _ in files.find_changes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.xml").write_text("a")
    (folder / "b.bin").write_text("b")
    return folder


def test_nothing_changed(folder: Path, tmp_path: Path) -> None:
    files = watch(folder, tmp_path / "missing", folder / "a.xml")
    assert files.find_changes() == frozenset()


def replace(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_text("c")
    os.utime(new, ns=(0, path.stat().st_mtime_ns))
    new.replace(path)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda f: (f / "a.xml").write_text("A"), ["a.xml"]),
        (lambda f: replace(f / "a.xml"), ["a.xml"]),
        (lambda f: (f / "a.xml").unlink(), ["a.xml"]),
        (lambda f: (f / "c.json").touch(), ["c.json"]),
        (lambda f: (f / "a.xml").rename(f / "c.xml"), ["a.xml", "c.xml"]),
    ],
)
def test_changes_in_a_folder(
    folder: Path, change: Callable[[Path], object], names: list[str]
) -> None:
    files = watch(folder)
    change(folder)
    assert changed_names(files) == names
    assert changed_names(files) == names, "it stays a change until somebody looks anew"


@pytest.mark.parametrize(
    "change",
    [
        lambda f: os.utime(f / "a.xml", ns=(0, 1)),
        lambda f: (f / "a.xml").write_text("a"),
        lambda f: (f / ".a.xml.swp").touch(),
        lambda f: (f / "a.xml~").touch(),
        lambda f: (f / "1234.blob").touch(),
        lambda f: (f / "sub").mkdir(),
    ],
)
def test_ignored_changes(folder: Path, change: Callable[[Path], object]) -> None:
    files = watch(folder)
    change(folder)
    assert files.find_changes() == frozenset()


def test_a_change_includes_the_new_content(folder: Path) -> None:
    files = watch(folder)
    (folder / "a.xml").write_text("half")
    half = files.find_changes()
    (folder / "a.xml").write_text("half and half")
    assert files.find_changes() != half
    (folder / "a.xml").write_text("a")
    assert files.find_changes() == frozenset()


def test_a_file_that_comes_and_goes(tmp_path: Path) -> None:
    files = watch(tmp_path / "config.json")
    (tmp_path / "config.json").touch()
    assert changed_names(files) == ["config.json"]
    (tmp_path / "config.json").unlink()
    assert files.find_changes() == frozenset()


def test_a_link_to_another_file(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(folder)
    files = watch(link)
    other = tmp_path / "other"
    folder.rename(other)
    link.unlink()
    link.symlink_to(other)
    assert changed_names(files) == ["a.xml", "b.bin"]


def test_a_large_file_is_known_by_its_time(folder: Path) -> None:
    with (folder / "b.bin").open("wb") as stream:
        stream.truncate(MAX_HASHED_BYTES + 1)
    files = watch(folder)
    assert files.find_changes() == frozenset()
    os.utime(folder / "b.bin", ns=(0, 1))
    assert changed_names(files) == ["b.bin"]


def test_a_file_that_cannot_be_read_counts_as_missing(folder: Path) -> None:
    (folder / "loop").symlink_to(folder / "loop")
    files = watch(folder, folder / "loop", folder / ("x" * 300))
    assert files.find_changes() == frozenset()
