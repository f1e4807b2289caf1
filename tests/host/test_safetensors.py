"""Files of tensors, whole and broken."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.host.safetensors import read_header, read_safetensors


def write(path: Path, entries: dict[str, Any], data: bytes) -> Path:
    text = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_the_header(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    entries, metadata, start = read_header(write(tmp_path / "a", {"x": entry}, b"1234"))
    assert entries == {"x": entry}
    assert metadata == {"format": "pt"}
    assert (tmp_path / "a").read_bytes()[start:] == b"1234"


def test_bfloat16_tensors(tmp_path: Path) -> None:
    values = np.array([1.5, -2, 0.25], np.float32)
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    entry = {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}
    path = write(tmp_path / "a", {"x": entry}, halves.tobytes())
    assert read_safetensors(path)["x"].tolist() == values.tolist()


@pytest.mark.parametrize("content", [b"", b"\x02\0\0\0\0\0\0\0{x", b"\x02\0\0\0\0\0\0\0[]"])
def test_files_of_another_kind(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match="is no safetensors file"):
        read_safetensors(tmp_path / "a")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [1], "data_offsets": [-4, 4]},
        {"dtype": "I64", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1]},
        {"dtype": "F32", "shape": [1], "data_offsets": ["0", 4]},
        7,
    ],
)
def test_entries_that_do_not_fit_the_file(tmp_path: Path, entry: Any) -> None:
    with pytest.raises(ValueError, match="is no safetensors file of floats"):
        read_safetensors(write(tmp_path / "a", {"x": entry}, b"1234"))


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="a FIFO"):
        read_safetensors(tmp_path / "fifo")


def test_no_more_is_read_than_the_tensors_have(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    path = write(tmp_path / "a", {"x": entry}, np.float32(1.5).tobytes())
    os.truncate(path, 2**42)
    assert read_safetensors(path)["x"].tolist() == [1.5]
