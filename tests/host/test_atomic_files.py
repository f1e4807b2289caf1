from pathlib import Path

import pytest

from server.host.atomic_files import write_atomically


def test_refused_text_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def refuse(new: Path) -> None:
        assert new.read_text() == "new"
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_atomically(path, "new", check=refuse)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_new_file_has_the_usual_mode(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new", "text")
    (tmp_path / "usual").touch()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode
