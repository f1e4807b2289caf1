import json
from pathlib import Path

import pytest

from export_models.quantization.calibration_file import (
    MAX_LINE_BYTES,
    CalibrationSample,
    read_calibration_file,
)
from server.errors import ExportError

HELLO = [{"role": "user", "content": "Hello"}]


def write(folder: Path, content: bytes | str) -> Path:
    path = folder / "samples.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_text_on_each_line(tmp_path: Path) -> None:
    path = write(tmp_path, '\ufeffOne day\r\n\n  \n zwölf Füchse \n{"text": 1}')
    assert read_calibration_file(path, 9) == [
        CalibrationSample(1, "One day"),
        CalibrationSample(4, "zwölf Füchse"),
        CalibrationSample(5, '{"text": 1}'),
    ]


def test_json_objects(tmp_path: Path) -> None:
    lines = [{"text": "One day", "id": 7}, {"messages": HELLO}]
    path = write(tmp_path, "\n".join(["", *map(json.dumps, lines)]))
    assert read_calibration_file(path, 9) == [
        CalibrationSample(2, "One day"),
        CalibrationSample(3, HELLO),
    ]


def test_no_more_is_read_than_is_used(tmp_path: Path) -> None:
    path = write(tmp_path, b"a\nb\nc\n\xff")
    assert [sample.content for sample in read_calibration_file(path, 3)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no text"),
        (b"\n \n\n", "has no text"),
        (b"good\n\xff\xfeb", "line 2: not UTF-8: byte 0xff at position 0"),
        ("Füchse".encode("utf-16"), "line 1: not UTF-8"),
        (b"good\na\0b", "line 2: a NUL character"),
        (b"good\n" + (MAX_LINE_BYTES + 1) * b"a", f"line 2: longer than {MAX_LINE_BYTES} bytes"),
        ('{"text": "a"}\n{"text": ', "line 2: not JSON: "),
        ('{"text": "a"}\nplain', "line 2: not JSON: "),
        ('{"text": "a"}\n[1]', 'line 2: must be an object with either "text" or "messages"'),
        ('{"a":' * 100_000, "line 1: not JSON: "),
        ('{"prompt": "a"}', 'either "text" or "messages"'),
        ('{"text": "a", "messages": []}', 'either "text" or "messages"'),
        ('{"text": 1}', '"text" must be a string'),
        ('{"text": " "}', '"text" must be a string that is not empty'),
        ('{"text": "\\ud800"}', "half a surrogate pair"),
        ('{"messages": []}', '"messages" must be a list that is not empty'),
        ('{"messages": "Hello"}', '"messages" must be a list'),
        ('{"messages": [1]}', "message 0 must be an object"),
        ('{"messages": [{"role": "user"}]}', 'message 0 needs a string as "content"'),
        ('{"messages": [{"content": "a"}]}', 'message 0 needs a string as "role"'),
        ('{"messages": [{"role": "user", "content": "\\udfff"}]}', "half a surrogate pair"),
    ],
)
def test_what_is_wrong_and_where(tmp_path: Path, content: bytes | str, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ExportError) as error:
        read_calibration_file(path, 9)
    assert str(error.value).startswith(f"--calibration_file {path}: ")
    assert message in str(error.value)


@pytest.mark.parametrize("name", [".", "missing", "a" * 300])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match="--calibration_file"):
        read_calibration_file(tmp_path / name, 9)
