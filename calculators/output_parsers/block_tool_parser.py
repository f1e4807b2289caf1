"""Tool calls that can be read only when they are complete, between two markers."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple

from calculators.output_parsers.output_parser import ToolParser, split_at

__all__ = ["BlockToolParser", "Call"]


class Call(NamedTuple):
    """A tool call; `arguments` is JSON."""

    name: str
    arguments: str


class BlockToolParser(ToolParser):
    """Collects the text between `begin` and `end`; if it cannot be read, it is content."""

    begin: ClassVar[str]
    end: ClassVar[str]

    @abstractmethod
    def read_calls(self, text: str) -> list[Call]:
        """Read the text between the markers. Raises ValueError for a text without calls."""

    def finish(self) -> None:
        """At the end of the answer, `end` may be missing."""
        if self._step == self._block:
            self._emit(self._text, "")
        else:
            self._output.content(self._text)

    def _start(self) -> bool:
        before, marker, self._text = split_at(self._text, self.begin)
        self._output.content(before)
        if marker is None:
            return False
        self._step = self._block
        return True

    def _block(self) -> bool:
        text, marker, rest = self._text.partition(self.end)
        if not marker:
            return False
        self._emit(text, marker)
        self._text = rest
        self._step = self._start
        return True

    def _emit(self, text: str, end: str) -> None:
        try:
            calls = self.read_calls(text)
        except ValueError:
            self._output.content(self.begin + text + end)
            return
        for call in calls:
            self._output.start_call(call.name)
            self._output.arguments(call.arguments)
