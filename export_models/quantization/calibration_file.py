"""The file of --calibration_file: texts as a model will meet them, to measure activations on."""

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
    """One text, or the messages that the chat template makes a text of; `line` is its number."""

    line: int
    content: str | list[dict[str, object]]


def read_calibration_file(path: Path, max_samples: int) -> list[CalibrationSample]:
    """The first samples of a file: a text on each line, or JSON objects where the first is one.

    An object has a `text` or `messages`; what else it has is not read. Blank lines are left out.
    Raises ExportError, with the number of the line, for what is neither.
    """
    try:
        with path.open("rb") as file:
            samples = list(islice(_iter_samples(path, file), max_samples))
    except OSError as error:
        raise ExportError(f"--calibration_file {path}: {error.strerror}") from error
    if not samples:
        raise ExportError(f"--calibration_file {path}: holds no text")
    return samples


def _iter_samples(path: Path, file: BinaryIO) -> Iterator[CalibrationSample]:
    is_json = None
    # A limit, because a file without line breaks may be larger than the memory.
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
            f"not JSON: {error}; the first line begins with {{, so that each is read as an object"
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
    """JSON can spell half a character, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half a surrogate pair: {text[error.start]!r}") from error
    return text
