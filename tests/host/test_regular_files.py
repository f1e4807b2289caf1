"""What is no regular file is refused at once, and not read."""

import os
import socket
from pathlib import Path

import pytest

from server.host.regular_files import find_unreadable, open_regular


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    with open_regular(tmp_path / "a") as file:
        assert file.read() == b"text"


def test_a_fifo_and_a_link_to_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    (tmp_path / "b").symlink_to("a")
    for name in "ab":
        with pytest.raises(OSError, match="is a FIFO; a regular file is needed"):
            open_regular(tmp_path / name)


def test_a_socket_a_device_and_a_folder(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "a"))
        with pytest.raises(OSError, match="is a socket"):
            open_regular(tmp_path / "a")
    with pytest.raises(OSError, match="is a device"):
        open_regular(Path("/dev/zero"))
    with pytest.raises(OSError, match="is a folder"):
        open_regular(tmp_path)


def test_a_folder_with_something_else_than_files(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "a.json").write_text("{}")
    assert find_unreadable(tmp_path) is None
    assert find_unreadable(tmp_path / "nothing") is None
    os.mkfifo(tmp_path / "z.bin")
    assert find_unreadable(tmp_path) == f"{tmp_path}/z.bin is a FIFO; a regular file is needed"


def test_a_text_file_of_many_bytes_and_none_on_disk(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.touch()
    os.truncate(file, 10 * 2**30)
    problem = f"{file} has 10240 MiB; 512 MiB are the most for a .json file"
    assert find_unreadable(tmp_path) == find_unreadable(file) == problem
