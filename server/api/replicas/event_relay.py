"""Server-sent events on their way through the front."""

import re
from collections.abc import Mapping
from typing import Any

from server.api.paths import clean_path, is_anthropic
from server.protocol.anthropic.message_object import error_message
from server.protocol.json_text import json_bytes

__all__ = ["WholeEvents", "failure_event"]

END = b"\n\n"
# A larger event goes out as it comes.
MAX_HELD_BYTES = 2**18
OPENAI = re.compile(r".*/(chat/completions|completions)$")
AUDIO = re.compile(r".*/audio/(transcriptions|translations)$")


class WholeEvents:
    """Passes on whole events, so that one more can be added when the stream breaks off."""

    def __init__(self) -> None:
        self._held = b""
        self.is_at_end = True
        """Whether what was passed on ends with a whole event."""

    def take(self, data: bytes) -> bytes:
        """What can be passed on now."""
        if not self._held and data.endswith(END):
            self.is_at_end = True
            return data
        data = self._held + data
        end = data.rfind(END) + len(END) if END in data else 0
        if len(data) - end > MAX_HELD_BYTES:
            self._held, self.is_at_end = b"", False
            return data
        self._held = data[end:]
        self.is_at_end = self.is_at_end or end > 0
        return data[:end]

    def rest(self) -> bytes:
        """What is left when the stream has ended."""
        return self._held


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
