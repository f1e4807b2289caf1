"""Where a JSON value ends in a text that comes in pieces."""

import json
import re
from collections.abc import Callable

__all__ = ["JsonScanner", "read_json"]

_WHITE_SPACE = " \t\n\r"
_PLAIN_CHARACTERS = re.compile(r'[^"\\\x00-\x1f]*')
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NUMBER_CHARACTERS = re.compile(r"[-+.eE0-9]*")
_LITERALS = ("true", "false", "null")
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


class JsonScanner:
    """Checks one JSON value (RFC 8259) character by character, and finds its end.

    `text` is what the last `feed` read. Line breaks in strings, which models forget to escape, are
    escaped there; it is the only mistake that leaves no doubt about what was meant.
    Open brackets are a list, not a recursion: models can be made to nest without end. A number
    that nothing encloses ends at the character behind it.
    """

    __slots__ = (
        "_closers",
        "_controls",
        "_is_key",
        "_num_digits",
        "_scalar",
        "_step",
        "is_broken",
        "is_complete",
        "text",
    )

    def __init__(self) -> None:
        self._closers: list[str] = []
        self._controls: list[int] = []
        self._is_key = False
        self._num_digits = 0
        self._scalar = ""
        self.text = ""
        self._step: Callable[[str, int], int] = self._value
        self.is_complete = False
        self.is_broken = False

    def feed(self, text: str, position: int = 0) -> int:
        """Read on from `position`; return the place behind the last character that belongs here.

        That is the end of the text as long as the value is neither complete nor broken.
        """
        start = position
        while position < len(text) and not (self.is_complete or self.is_broken):
            position = self._step(text, position)
        self.text = self._escape_controls(text, start, position)
        return position

    def _escape_controls(self, text: str, start: int, end: int) -> str:
        if not self._controls:
            return text[start:end]
        escaped = ""
        for place in self._controls:
            escaped += text[start:place] + json.dumps(text[place])[1:-1]
            start = place + 1
        self._controls = []
        return escaped + text[start:end]

    def _value(self, text: str, position: int) -> int:
        character = text[position]
        if character in _WHITE_SPACE:
            return position + 1
        if character == "{":
            self._closers.append("}")
            self._step = self._first_key
        elif character == "[":
            self._closers.append("]")
            self._step = self._first_item
        elif character == '"':
            self._is_key = False
            self._step = self._string
        elif character in "-0123456789":
            self._scalar = ""
            self._step = self._number
            return position
        else:
            self._scalar = ""
            self._step = self._literal
            return position
        return position + 1

    def _first_key(self, text: str, position: int) -> int:
        return self._close(position) if text[position] == "}" else self._key(text, position)

    def _first_item(self, text: str, position: int) -> int:
        return self._close(position) if text[position] == "]" else self._value(text, position)

    def _key(self, text: str, position: int) -> int:
        if text[position] == '"':
            self._is_key = True
            self._step = self._string
            return position + 1
        return self._skip_space(text, position)

    def _colon(self, text: str, position: int) -> int:
        if text[position] == ":":
            self._step = self._value
            return position + 1
        return self._skip_space(text, position)

    def _after_item(self, text: str, position: int) -> int:
        character = text[position]
        if character == self._closers[-1]:
            return self._close(position)
        if character == ",":
            self._step = self._key if self._closers[-1] == "}" else self._value
            return position + 1
        return self._skip_space(text, position)

    def _string(self, text: str, position: int) -> int:
        found = _PLAIN_CHARACTERS.match(text, position)
        assert found is not None
        position = found.end()
        if position == len(text):
            return position
        if text[position] == '"':
            self._end_string()
        elif text[position] == "\\":
            self._step = self._escape
        else:
            self._controls.append(position)
        return position + 1

    def _escape(self, text: str, position: int) -> int:
        character = text[position]
        if character == "u":
            self._num_digits = 0
            self._step = self._unicode
        elif character in '"\\/bfnrt':
            self._step = self._string
        else:
            return self._break(position)
        return position + 1

    def _unicode(self, text: str, position: int) -> int:
        if text[position] not in _HEX_DIGITS:
            return self._break(position)
        self._num_digits += 1
        if self._num_digits == 4:
            self._step = self._string
        return position + 1

    def _number(self, text: str, position: int) -> int:
        found = _NUMBER_CHARACTERS.match(text, position)
        assert found is not None
        self._scalar += found.group()
        if found.end() < len(text):
            if not _NUMBER.fullmatch(self._scalar):
                return self._break(position)
            self._end_value()
        return found.end()

    def _literal(self, text: str, position: int) -> int:
        scalar = self._scalar + text[position]
        if not any(literal.startswith(scalar) for literal in _LITERALS):
            return self._break(position)
        self._scalar = scalar
        if scalar in _LITERALS:
            self._end_value()
        return position + 1

    def _end_string(self) -> None:
        if self._is_key:
            self._step = self._colon
        else:
            self._end_value()

    def _close(self, position: int) -> int:
        self._closers.pop()
        self._end_value()
        return position + 1

    def _end_value(self) -> None:
        if self._closers:
            self._step = self._after_item
        else:
            self.is_complete = True

    def _skip_space(self, text: str, position: int) -> int:
        return position + 1 if text[position] in _WHITE_SPACE else self._break(position)

    def _break(self, position: int) -> int:
        self.is_broken = True
        return position


def read_json(text: str) -> str | None:
    """A whole text as one JSON value with nothing behind it; None for what is none."""
    scanner = JsonScanner()
    # A number ends at what follows it.
    is_whole = scanner.feed(text + "\n") == len(text) and scanner.is_complete
    return scanner.text if is_whole else None
