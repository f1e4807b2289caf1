"""Tool calls that can be read only when they are complete, between two markers."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from calculators.output_parsers.output_parser import ToolParser, split_at
from calculators.output_parsers.parsed_output import ParsedOutput

__all__ = ["BlockToolParser", "Call"]


class Call(NamedTuple):
    """A tool call; `arguments` is JSON."""

    name: str
    arguments: str


class BlockToolParser(ToolParser):
    """Collects the text between `begin` and `end`; if it cannot be read, it is content."""

    begin: ClassVar[str]
    end: ClassVar[str]

    def __init__(self, output: ParsedOutput, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(output, tools)
        self._collected: list[str] = []

    @abstractmethod
    def read_calls(self, text: str) -> list[Call]:
        """Read the text between the markers. Raises ValueError for a text without calls."""

    def finish(self) -> None:
        """At the end of the answer, `end` may be missing."""
        if self._step == self._block:
            self._collected.append(self._text)
            self._emit(self.begin, "")
        else:
            self._output.content(self._text)

    def _start(self) -> bool:
        self._step = self._outside
        return True

    def _outside(self) -> bool:
        before, marker, self._text = split_at(self._text, self.begin)
        self._output.content(before)
        if marker is None:
            return False
        self._step = self._block
        return True

    def _block(self) -> bool:
        before, marker, self._text = split_at(self._text, self.end)
        self._collected.append(before)
        if marker is None:
            return False
        self._emit(self.begin, marker)
        self._step = self._start
        return True

    def _emit(self, begin: str, end: str) -> None:
        """Read what was collected; the markers are content with it."""
        text = "".join(self._collected)
        self._collected = []
        try:
            calls = self.read_calls(text)
        except ValueError:
            self._output.content(begin + text + end)
            return
        for call in calls:
            self._output.start_call(call.name)
            self._output.arguments(call.arguments)
