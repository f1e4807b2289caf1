"""A tool call as a JSON object: {"name": ..., "arguments": {...}}."""

import json
from collections.abc import Callable, Container
from enum import Enum, auto

from calculators.output_parsers.json_scanner import JsonScanner, read_json
from calculators.output_parsers.parsed_output import ParsedOutput

__all__ = ["CallState", "JsonCallReader", "read_json_object"]

_WHITE_SPACE = " \t\n\r"
_ARGUMENTS_KEYS = ("arguments", "parameters")
_NO_ARGUMENTS = ("", "null", "[]")
_OTHER_KEYS = ("type", "id", "tool_call_id", "index")


class CallState(Enum):
    """How far a call was read.

    NONE: it is no call, and nothing of it was sent; its text is `JsonCallReader.raw`.
    CUT: its arguments are broken, and a part of them was already sent.
    """

    READING = auto()
    COMPLETE = auto()
    NONE = auto()
    CUT = auto()


class JsonCallReader:
    """Reads one call as it comes; the arguments go to the output as soon as the name is known.

    The member `name_key` has the name. Arguments that are a string with an object in it are that
    object; null, a blank string, an empty list and no arguments at all are an empty one. Other
    members are skipped, but without arguments they may be those, so that is no call. `bare_names`
    is for a text that may be any JSON object: what has other members before the name is no call,
    and a call without arguments must have one of these names.
    Until `is_started` the output has nothing, and `raw` is what was read.
    """

    def __init__(
        self,
        output: ParsedOutput,
        *,
        name_key: str = "name",
        bare_names: Container[str] | None = None,
    ) -> None:
        self._output = output
        self._name_key = name_key
        self._bare_names = bare_names
        self._step: Callable[[str, int], int] = self._open
        self._scanner = JsonScanner()
        self._key: str | None = None
        self._value: list[str] = []
        self._name = ""
        self._has_unknown_key = False
        self._arguments: str | None = None
        self.is_started = False
        self._is_streaming = False
        self._raw: list[str] = []
        self.state = CallState.READING

    @property
    def raw(self) -> str:
        """What was read before the call started."""
        return "".join(self._raw)

    def feed(self, text: str) -> str:
        """Read on; return the text behind the call, or the one from where it is broken."""
        position = 0
        while position < len(text) and self.state is CallState.READING:
            position = self._step(text, position)
        if not self.is_started:
            self._raw.append(text[:position])
        return text[position:]

    def _open(self, text: str, position: int) -> int:
        if text[position] == "{":
            self._step = self._first_key
            return position + 1
        return self._skip_space(text, position)

    def _first_key(self, text: str, position: int) -> int:
        return self._close(position) if text[position] == "}" else self._begin_key(text, position)

    def _begin_key(self, text: str, position: int) -> int:
        if text[position] == '"':
            self._begin(None)
            return position
        return self._skip_space(text, position)

    def _colon(self, text: str, position: int) -> int:
        if text[position] == ":":
            self._step = self._begin_value
            return position + 1
        return self._skip_space(text, position)

    def _begin_value(self, text: str, position: int) -> int:
        if text[position] in _WHITE_SPACE:
            return position + 1
        assert self._key is not None
        self._begin(self._key)
        if self._is_arguments() and self._name and text[position] == "{":
            self._is_streaming = True
            self._start_call()
        return position

    def _begin(self, key: str | None) -> None:
        """Begin a string that is a key, or the value of `key`."""
        self._scanner = JsonScanner()
        self._key = key
        self._value = []
        self._step = self._scan

    def _scan(self, text: str, position: int) -> int:
        end = self._scanner.feed(text, position)
        if self._is_streaming:
            self._output.arguments(self._scanner.text)
        else:
            self._value.append(self._scanner.text)
        if self._scanner.is_broken:
            self._break()
        elif self._scanner.is_complete:
            self._end_scan()
        return end

    def _end_scan(self) -> None:
        if self._key is None:
            self._key = json.loads("".join(self._value))
            self._step = self._colon
            if not self._is_known_key():
                self._has_unknown_key = True
                if self._bare_names is not None and not self._name:
                    self._break()
            return
        self._step = self._after_value
        if self._is_streaming:
            self._is_streaming = False
            self._arguments = ""
        elif self._key == self._name_key:
            self._read_name("".join(self._value))
        elif self._is_arguments():
            self._read_arguments("".join(self._value))

    def _after_value(self, text: str, position: int) -> int:
        if text[position] == ",":
            self._step = self._begin_key
            return position + 1
        if text[position] == "}":
            return self._close(position)
        return self._skip_space(text, position)

    def _close(self, position: int) -> int:
        if not self.is_started:
            if not self._name or (self._arguments is None and self._is_doubtful()):
                return self._break(position)
            self._start_call()
            self._output.arguments(self._arguments or "{}")
        self.state = CallState.COMPLETE
        return position + 1

    def _is_arguments(self) -> bool:
        return self._key in _ARGUMENTS_KEYS and self._arguments is None

    def _is_known_key(self) -> bool:
        return self._key in (self._name_key, *_ARGUMENTS_KEYS, *_OTHER_KEYS)

    def _is_doubtful(self) -> bool:
        """Whether an object without arguments is probably not a call."""
        is_unknown = self._bare_names is not None and self._name not in self._bare_names
        return is_unknown or self._has_unknown_key

    def _read_name(self, value: str) -> None:
        name = json.loads(value).strip() if value.startswith('"') else None
        if not name:
            self._break()
        elif not self.is_started:
            self._name = name

    def _read_arguments(self, value: str) -> None:
        text = json.loads(value) if value.startswith('"') else value
        is_empty = "".join(text.split()) in _NO_ARGUMENTS
        self._arguments = "{}" if is_empty else read_json_object(text)
        if self._arguments is None:
            self._break()

    def _start_call(self) -> None:
        self.is_started = True
        self._output.start_call(self._name)

    def _skip_space(self, text: str, position: int) -> int:
        return position + 1 if text[position] in _WHITE_SPACE else self._break(position)

    def _break(self, position: int = 0) -> int:
        if not self.is_started:
            self.state = CallState.NONE
        else:
            # The arguments are complete; what is broken behind them is not needed.
            self.state = CallState.CUT if self._is_streaming else CallState.COMPLETE
        return position


def read_json_object(text: str) -> str | None:
    """A whole text as one JSON object; None for what is none."""
    text = text.strip(_WHITE_SPACE)
    return read_json(text) if text.startswith("{") else None
