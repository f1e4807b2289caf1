"""Qwen 3, DeepSeek R1 and their like: <think>reasoning</think> before the answer."""

from calculators.output_parsers.output_parser import OutputParser, ReasoningParser, split_at
from calculators.output_parsers.parsed_output import ParsedOutput

__all__ = ["Qwen3ReasoningParser"]

BEGIN = "<think>"
END = "</think>"


class Qwen3ReasoningParser(ReasoningParser):
    """Takes the reasoning at the beginning of the text, which may be all there is.

    Templates of models that always reason write the first tag into the prompt.
    """

    markers = (BEGIN, END)

    def __init__(self, output: ParsedOutput, then: OutputParser, prompt: str) -> None:
        super().__init__(output, then, prompt)
        if prompt.rstrip().endswith(BEGIN):
            self._step = self._before_reasoning

    def finish(self) -> None:
        """Reasoning that was cut off is reasoning too."""
        if self._step == self._start:
            self._then.feed(self._text)
        elif self._step == self._reasoning:
            self._output.reasoning(self._text.rstrip())
        self._then.finish()

    def _start(self) -> bool:
        text = self._text.lstrip()
        if text != BEGIN and BEGIN.startswith(text):
            return False
        if text.startswith(BEGIN):
            self._text = text.removeprefix(BEGIN)
            self._step = self._before_reasoning
        else:
            self._step = self._answer
        return True

    def _before_reasoning(self) -> bool:
        self._text = self._text.lstrip()
        if not self._text:
            return False
        self._step = self._reasoning
        return True

    def _reasoning(self) -> bool:
        before, marker, rest = split_at(self._text, END)
        shown = before.rstrip()
        if shown or marker:
            self._output.reasoning(shown)
        if marker is None:
            self._text = before[len(shown) :] + rest
            return False
        self._text = rest
        self._step = self._answer
        return True

    def _answer(self) -> bool:
        self._then.feed(self._text)
        self._text = ""
        return False
