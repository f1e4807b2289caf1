"""Where a JSON value ends in a text that comes in pieces."""

import re
from collections.abc import Callable

__all__ = ["JsonScanner", "is_json"]

_WHITE_SPACE = " \t\n\r"
_PLAIN_CHARACTERS = re.compile(r'[^"\\\x00-\x1f]*')
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NUMBER_CHARACTERS = re.compile(r"[-+.eE0-9]*")
_LITERALS = ("true", "false", "null")
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


class JsonScanner:
    """Checks one JSON value (RFC 8259) character by character, and finds its end.

    Open brackets are a list, not a recursion: models can be made to nest without end. A number
    that nothing encloses ends at the character behind it.
    """

    __slots__ = (
        "_closers",
        "_is_key",
        "_num_digits",
        "_scalar",
        "_step",
        "is_broken",
        "is_complete",
    )

    def __init__(self) -> None:
        self._closers: list[str] = []
        self._is_key = False
        self._num_digits = 0
        self._scalar = ""
        self._step: Callable[[str, int], int] = self._value
        self.is_complete = False
        self.is_broken = False

    def feed(self, text: str, position: int = 0) -> int:
        """Read on from `position`; return the place behind the last character that belongs here.

        That is the end of the text as long as the value is neither complete nor broken.
        """
        while position < len(text) and not (self.is_complete or self.is_broken):
            position = self._step(text, position)
        return position

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
            return self._break(position)
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


def is_json(text: str) -> bool:
    """Whether a whole text is one JSON value, with nothing behind it."""
    scanner = JsonScanner()
    # A number ends at what follows it.
    return scanner.feed(text + "\n") == len(text) and scanner.is_complete
