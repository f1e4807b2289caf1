"""Hermes 2 and 3, Qwen 2.5 and 3: <tool_call>{"name": ..., "arguments": {...}}</tool_call>."""

from calculators.output_parsers.json_call_reader import CallState, JsonCallReader
from calculators.output_parsers.output_parser import CallFrame, ToolParser, split_at

__all__ = ["Hermes3ToolParser"]

BEGIN = "<tool_call>"
END = "</tool_call>"


class Hermes3ToolParser(ToolParser):
    """Finds calls between tags; what stands in tags and is no call is content, tags included."""

    markers = (BEGIN, END)
    frame = CallFrame(
        before_name=f'{BEGIN}\n{{"name": "',
        before_arguments='", "arguments": ',
        after_arguments=f"}}\n{END}",
        between="\n",
    )

    def finish(self) -> None:
        """A call that was cut off before its arguments began is content."""
        if self._step == self._call:
            if not self._reader.is_started:
                self._output.content(BEGIN + self._reader.raw)
        elif self._step == self._broken_arguments:
            self._output.arguments(self._text)
        elif self._step == self._start or not END.startswith(self._text.strip()):
            self._output.content(self._text)

    def _start(self) -> bool:
        before, marker, self._text = split_at(self._text, BEGIN)
        self._output.content(before)
        if marker is None:
            return False
        self._reader = JsonCallReader(self._output)
        self._step = self._call
        return True

    def _call(self) -> bool:
        self._text = self._reader.feed(self._text)
        match self._reader.state:
            case CallState.COMPLETE:
                self._step = self._end
            case CallState.CUT:
                self._step = self._broken_arguments
            case CallState.NONE:
                self._output.content(BEGIN + self._reader.raw)
                self._step = self._start
        return True

    def _end(self) -> bool:
        """Skip the end tag; a model that forgets it goes on with something else."""
        text = self._text.lstrip()
        if text != END and END.startswith(text):
            return False
        self._text = text.removeprefix(END)
        self._step = self._start
        return True

    def _broken_arguments(self) -> bool:
        """The output has the beginning already, so the rest stays with it as the model wrote it."""
        before, marker, self._text = split_at(self._text, END)
        self._output.arguments(before)
        if marker is None:
            return False
        self._step = self._start
        return True
