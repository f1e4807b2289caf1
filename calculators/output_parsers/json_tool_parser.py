"""Tool calls as JSON objects between markers: most families write some form of that."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from calculators.output_parsers.json_call_reader import CallState, JsonCallReader
from calculators.output_parsers.output_parser import ToolParser, split_at
from calculators.output_parsers.parsed_output import ParsedOutput

__all__ = ["CallReader", "JsonToolParser"]

SEPARATORS = (",", ";")


class CallReader(Protocol):
    """Reads one call, as JsonCallReader does."""

    is_started: bool
    state: CallState

    @property
    def raw(self) -> str:
        """What was read before the call started."""

    def feed(self, text: str) -> str:
        """Read on; return the text behind the call, or the one from where it is broken."""


class JsonToolParser(ToolParser):
    """Finds `begin`, then one call or several, then `closing`.

    Models write several calls as a JSON list, or with commas, semicolons or white space between
    them; every family may do each. `closing` may be empty, and `opening` is a text that may stand
    between `begin` and the first call. `other_tags` are further pairs of `begin` and `closing`.
    With `can_be_bare` a text may begin with a call without `begin`, since models forget it. Text
    that is no call is content, markers included. If arguments turn out to be broken after a part
    of them was sent, the rest is sent as the model wrote it.
    """

    begin: ClassVar[str]
    closing: ClassVar[str] = ""
    opening: ClassVar[str] = ""
    other_tags: ClassVar[tuple[tuple[str, str], ...]] = ()
    can_be_bare: ClassVar[bool] = False
    name_key: ClassVar[str] = "name"

    def __init__(self, output: ParsedOutput, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(output, tools)
        self._closings = dict(self.other_tags, **{self.begin: self.closing})
        self._closing = self.closing
        self._frame_text = ""
        self._is_bare = False
        self._is_list = False
        self._reader: CallReader = JsonCallReader(output)

    def finish(self) -> None:
        """A call that ends before its arguments begin is content."""
        if self._step == self._call:
            if not self._reader.is_started:
                self._output.content(self._frame_text + self._reader.raw)
        elif self._step == self._broken_arguments:
            self._output.arguments(self._text)
        elif self._step != self._after_call or not self._closing.startswith(self._text.strip()):
            self._output.content(self._frame_text + self._text)

    def _make_reader(self, first_character: str) -> CallReader:
        bare_names = self._tool_names if self._is_bare else None
        return JsonCallReader(self._output, name_key=self.name_key, bare_names=bare_names)

    def _begins_call(self, character: str) -> bool:
        """Whether a call can begin with this character."""
        return character == "{"

    def _start(self) -> bool:
        text = self._text.lstrip()
        if any(text != begin and begin.startswith(text) for begin in self._closings):
            return False
        begins = text.startswith(tuple(self._closings))
        self._is_bare = self.can_be_bare and not begins and text.startswith(("{", "["))
        self._step = self._open if self._is_bare else self._outside
        return True

    def _outside(self) -> bool:
        before, marker, self._text = split_at(self._text, *self._closings)
        self._output.content(before)
        if marker is None:
            return False
        self._is_bare = False
        self._frame_text = marker
        self._closing = self._closings[marker]
        self._step = self._open
        return True

    def _open(self) -> bool:
        text = self._text.lstrip()
        if self.opening:
            if text != self.opening and self.opening.startswith(text):
                return False
            text = text.removeprefix(self.opening).lstrip()
        if not text:
            return False
        self._is_list = text.startswith("[")
        text = text.removeprefix("[")
        self._frame_text += self._text[: len(self._text) - len(text)]
        self._text = text
        self._step = self._begin_call
        return True

    def _begin_call(self) -> bool:
        self._reader = self._make_reader(self._text[0])
        self._step = self._call
        return True

    def _call(self) -> bool:
        self._text = self._reader.feed(self._text)
        match self._reader.state:
            case CallState.COMPLETE:
                self._step = self._after_call
            case CallState.CUT:
                self._step = self._broken_arguments
            case CallState.NONE:
                self._output.content(self._frame_text + self._reader.raw)
                self._step = self._outside
            case CallState.READING:
                return False
        self._frame_text = ""
        return True

    def _after_call(self) -> bool:
        """Expect a further call or the closing text; models forget the latter."""
        text = self._text.lstrip()
        if not text or (text != self._closing and self._closing.startswith(text)):
            return False
        separated = text[1:].lstrip() if text.startswith(SEPARATORS) else text
        if not separated:
            return False
        if self._begins_call(separated[0]) and (separated != text or separated[0] == "{"):
            self._frame_text = text[: len(text) - len(separated)]
            self._text = separated
            self._step = self._begin_call
        elif self._is_list and text.startswith("]"):
            self._is_list = False
            self._text = text.removeprefix("]")
        else:
            self._text = text.removeprefix(self._closing) if self._closing else self._text
            self._step = self._outside
        return True

    def _broken_arguments(self) -> bool:
        # A closing bracket may be part of the arguments; a closing tag hardly is.
        end = self._closing or self.begin
        before, marker, rest = split_at(self._text, end)
        self._output.arguments(before)
        self._text = rest
        if marker is None:
            return False
        self._text = rest if self._closing else marker + rest
        self._step = self._outside
        return True
