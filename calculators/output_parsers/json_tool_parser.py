"""Tool calls as JSON objects between markers: most families write some form of that."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from calculators.output_parsers.json_call_reader import CallState, JsonCallReader
from calculators.output_parsers.output_parser import ToolParser, split_at
from calculators.output_parsers.parsed_output import ParsedOutput

__all__ = ["CallReader", "JsonToolParser"]


class CallReader(Protocol):
    """Reads one call, as JsonCallReader does."""

    is_started: bool
    raw: str
    state: CallState

    def feed(self, text: str) -> str:
        """Read on; return the text behind the call, or the one from where it is broken."""


class JsonToolParser(ToolParser):
    """Finds `begin`, then `opening`, calls with a `separator` between them, then `closing`.

    All but `begin` may be empty. With `can_be_bare` a text may begin with a call without `begin`,
    since models forget it. Text that is no call is content, markers included. If arguments turn out
    to be broken after a part of them was sent, the rest is sent as the model wrote it.
    """

    begin: ClassVar[str]
    opening: ClassVar[str] = ""
    separator: ClassVar[str] = ""
    closing: ClassVar[str] = ""
    can_be_bare: ClassVar[bool] = False

    def __init__(self, output: ParsedOutput, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(output, tools)
        self._frame_text = ""
        self._reader: CallReader = JsonCallReader(output)

    def finish(self) -> None:
        """A call that ends before its arguments begin is content."""
        if self._step == self._call:
            if not self._reader.is_started:
                self._output.content(self._frame_text + self._reader.raw)
        elif self._step == self._broken_arguments:
            self._output.arguments(self._text)
        elif self._step != self._after_call or not self.closing.startswith(self._text.strip()):
            self._output.content(self._frame_text + self._text)

    def _make_reader(self, first_character: str) -> CallReader:
        return JsonCallReader(self._output, needs_arguments=self.can_be_bare)

    def _start(self) -> bool:
        text = self._text.lstrip()
        if text != self.begin and self.begin.startswith(text):
            return False
        is_bare = self.can_be_bare and text.startswith(self.opening or "{")
        self._step = self._open if is_bare and not text.startswith(self.begin) else self._outside
        return True

    def _outside(self) -> bool:
        before, marker, self._text = split_at(self._text, self.begin)
        self._output.content(before)
        if marker is None:
            return False
        self._frame_text = marker
        self._step = self._open
        return True

    def _open(self) -> bool:
        text = self._text.lstrip()
        if not text:
            return False
        text = text.removeprefix(self.opening)
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
        """Skip the separator or the closing text; models forget them."""
        text = self._text.lstrip()
        if not text or (text != self.closing and self.closing.startswith(text)):
            return False
        if self.separator and text.startswith(self.separator):
            self._text = text.removeprefix(self.separator)
            self._step = self._begin_call
        else:
            self._text = text.removeprefix(self.closing)
            self._step = self._outside
        return True

    def _broken_arguments(self) -> bool:
        # A closing bracket may be part of the arguments; a closing tag hardly is.
        is_tag = len(self.closing) > 1
        end = self.closing if is_tag else self.begin
        before, marker, rest = split_at(self._text, end)
        self._output.arguments(before)
        self._text = rest
        if marker is None:
            return False
        self._text = rest if is_tag else marker + rest
        self._step = self._outside
        return True
