"""Server-sent events on their way through the front."""

import re
from collections.abc import Mapping
from typing import Any

from server.api.paths import clean_path, is_anthropic
from server.protocol.anthropic.message_object import error_message
from server.protocol.json_text import json_bytes

__all__ = ["EventBoundary", "failure_event"]

END = b"\n\n"
# An empty line, where lines end with LF, CR LF or CR.
ENDS = (b"\n\n", b"\n\r\n", b"\r\r", b"\r\r\n")
TAIL_BYTES = 3
OPENAI = re.compile(r".*/(chat/completions|completions)$")
AUDIO = re.compile(r".*/audio/(transcriptions|translations)$")


class EventBoundary:
    """Whether what was passed on of a stream ends with a whole event: one more can follow then."""

    def __init__(self) -> None:
        self._tail = b""

    def note(self, data: bytes) -> None:
        """Note what is passed on."""
        self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]

    @property
    def is_at_end(self) -> bool:
        """Whether no event has begun that has not ended."""
        return not self._tail or self._tail.endswith(ENDS)


def failure_event(path: str, error: Mapping[str, Any]) -> bytes | None:
    """The event with which a stream of the protocol at `path` fails; None for one not known.

    `error` is OpenAI's error object.
    """
    path = clean_path(path)
    message = error["message"]
    if is_anthropic(path):
        return b"event: error\ndata: " + json_bytes(error_message(503, message)) + END
    if path.endswith("/responses"):
        event = {"type": "error", "code": "server_error", "message": message, "param": None}
        return b"event: error\ndata: " + json_bytes({**event, "sequence_number": 0}) + END
    if AUDIO.fullmatch(path):
        return b"data: " + json_bytes({"type": "error", "error": error}) + END
    if OPENAI.fullmatch(path):
        return b"data: " + json_bytes({"error": error}) + END
    return None
