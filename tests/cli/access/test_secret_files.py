"""Files of keys are read again when they change."""

import os
from pathlib import Path

import pytest

from server.cli.access.secret_files import SecretFiles
from server.errors import ConfigError


class Reader:
    """Reads a file of text; `broken` cannot be used."""

    def __init__(self, *files: Path) -> None:
        self.files = files
        self.texts: list[str] = []

    def __call__(self) -> None:
        text = "".join(file.read_text() for file in self.files)
        if text == "broken":
            raise ConfigError("broken text")
        self.texts.append(text)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("one")
    return tmp_path / "file"


def test_a_change_is_read_when_two_looks_find_it(file: Path) -> None:
    reader, secrets = Reader(file), SecretFiles()
    secrets.add([file], reader)
    secrets.look()
    file.write_text("two")
    secrets.look()
    assert reader.texts == []
    secrets.look()
    secrets.look()
    assert reader.texts == ["two"]


def test_a_broken_file_is_tried_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    reader, secrets = Reader(file), SecretFiles()
    secrets.add([file], reader)
    file.write_text("broken")
    for _ in range(4):
        secrets.look()
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert errors == ["broken text; what was read before stays in use"]
    file.write_text("mended")
    secrets.look()
    secrets.look()
    assert reader.texts == ["mended"]


def test_a_link_that_leads_elsewhere(tmp_path: Path) -> None:
    """Kubernetes replaces secrets in this way."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "file").symlink_to("data/file")
    reader, secrets = Reader(tmp_path / "file"), SecretFiles()
    secrets.add([tmp_path / "file"], reader)
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").replace(tmp_path / "data")
    secrets.look()
    secrets.look()
    assert reader.texts == ["two"]


def test_reload_reads_all_at_once(file: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("broken")
    bad, good, secrets = Reader(tmp_path / "bad"), Reader(file), SecretFiles()
    secrets.add(bad.files, bad)
    secrets.add(good.files, good)
    with pytest.raises(ConfigError, match="broken text"):
        secrets.reload()
    assert good.texts == ["one"]


def test_a_pipe_is_not_read_again(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader, secrets = Reader(tmp_path / "pipe"), SecretFiles()
    secrets.add(reader.files, reader)
    secrets.reload()
    assert reader.texts == []
