"""The file of --calibration_file: sample texts on which activations are measured."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from server.errors import ExportError

__all__ = ["CalibrationSample", "read_calibration_file"]

MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True)
class CalibrationSample:
    """A text, or messages for the chat template; `line` is its line number."""

    line: int
    content: str | list[dict[str, object]]


def read_calibration_file(path: Path, max_samples: int) -> list[CalibrationSample]:
    """The first samples of a file: one text per line, or one JSON object if the first line is one.

    An object has a `text` or `messages`; other keys and blank lines are ignored.
    Raises ExportError, with the line number, for anything else.
    """
    try:
        with path.open("rb") as file:
            samples = list(islice(_iter_samples(path, file), max_samples))
    except OSError as error:
        raise ExportError(f"--calibration_file {path}: {error.strerror}") from error
    if not samples:
        raise ExportError(f"--calibration_file {path}: has no text")
    return samples


def _iter_samples(path: Path, file: BinaryIO) -> Iterator[CalibrationSample]:
    is_json = None
    # A limit, as a file without line breaks may be larger than the memory.
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
        try:
            text = _decode(line).strip()
            if is_json is None and text:
                is_json = text.startswith("{")
            if text:
                yield CalibrationSample(number, _parse_object(text) if is_json else text)
        except ValueError as error:
            raise ExportError(f"--calibration_file {path}: line {number}: {error}") from error


def _decode(line: bytes) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES} bytes; a sample is one line")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise ValueError(f"not UTF-8: byte {byte:#04x} at position {error.start}") from error
    if "\0" in text:
        raise ValueError("a NUL character; is it a text file?")
    return text


def _parse_object(line: str) -> str | list[dict[str, object]]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"not JSON: {error}; every line must be an object, as the first one starts with {{"
        ) from error
    if not isinstance(found, dict) or ("text" in found) == ("messages" in found):
        raise ValueError('must be an object with either "text" or "messages"')
    if "text" in found:
        return _check_text(found["text"])
    return _check_messages(found["messages"])


def _check_text(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError('"text" must be a string that is not empty')
    return _check_unicode(text)


def _check_messages(messages: object) -> list[dict[str, object]]:
    if not isinstance(messages, list) or not messages:
        raise ValueError('"messages" must be a list that is not empty')
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise ValueError(f"message {index} must be an object")
        for key in ("role", "content"):
            if not isinstance(message.get(key), str):
                raise ValueError(f'message {index} needs a string as "{key}"')
            _check_unicode(message[key])
    return messages


def _check_unicode(text: str) -> str:
    """JSON can hold half a surrogate pair, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half a surrogate pair: {text[error.start]!r}") from error
    return text
