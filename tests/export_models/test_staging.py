from pathlib import Path

import pytest

from export_models.staging import stage
from server.errors import ExportError


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def killed_run(target: Path, suffix: str = "abcd1234") -> Path:
    """What kill -9 leaves: a folder whose lock nobody holds."""
    folder = target.parent / f".{target.name}.partial-{suffix}"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "half.xml").touch()
    return folder


def test_nothing_is_seen_before_commit(tmp_path: Path) -> None:
    target = tmp_path / "org" / "m"
    with stage(target) as staging:
        (staging.model_folder / "x").touch()
        assert not target.exists()
        staging.commit()
    assert names(target) == ["x"]
    assert names(target.parent) == ["m"]


def test_leftover_of_a_killed_run_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "m"
    killed_run(target)
    others = killed_run(tmp_path / "m.partial-2")
    with stage(target):
        pass
    assert names(tmp_path) == [others.name]


def test_kill_between_the_two_renames_loses_no_model(tmp_path: Path) -> None:
    target = tmp_path / "m"
    old = killed_run(target) / "old"
    old.mkdir()
    (old / "openvino_model.xml").touch()
    with stage(target):
        pass
    assert names(target) == ["openvino_model.xml"]
    assert names(tmp_path) == ["m"]


def test_failed_rename_brings_the_old_model_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "m"
    target.mkdir()
    (target / "old").touch()

    def commit() -> None:
        with stage(target) as staging:
            staging.model_folder.rmdir()
            staging.commit()

    with pytest.raises(FileNotFoundError):
        commit()
    assert names(target) == ["old"]
    assert names(tmp_path) == ["m"]


def test_one_export_of_a_model_at_a_time(tmp_path: Path) -> None:
    target = tmp_path / "m"
    with stage(target) as first:
        with pytest.raises(ExportError, match="another export of this model is running"):
            stage(target).__enter__()
        with stage(tmp_path / "other"):
            pass
        assert first.model_folder.is_dir()
