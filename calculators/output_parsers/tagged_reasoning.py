"""Reasoning between two tags before the answer, as most families write it."""

from typing import ClassVar

from calculators.output_parsers.output_parser import OutputParser, ReasoningParser, split_at
from calculators.output_parsers.parsed_output import ParsedOutput

__all__ = ["TaggedReasoningParser"]


class TaggedReasoningParser(ReasoningParser):
    """Takes the reasoning at the beginning of the text.

    For models that always reason, the chat template writes the first tag into the prompt.
    """

    begin: ClassVar[str]
    end: ClassVar[str]

    def __init__(self, output: ParsedOutput, then: OutputParser, prompt: str) -> None:
        super().__init__(output, then, prompt)
        if self.is_begun(prompt):
            self._step = self._before_reasoning

    @classmethod
    def is_begun(cls, prompt: str) -> bool:
        """Whether the prompt has begun the reasoning."""
        return prompt.rstrip().endswith(cls.begin.rstrip())

    def finish(self) -> None:
        """Reasoning that was cut off is reasoning too."""
        if self._step == self._start:
            self._then.feed(self._text)
        elif self._step == self._reasoning:
            self._output.reasoning(self._text.rstrip())
        self._then.finish()

    def _start(self) -> bool:
        text = self._text.lstrip()
        if text != self.begin and self.begin.startswith(text):
            return False
        if text.startswith(self.begin):
            self._text = text.removeprefix(self.begin)
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
        before, marker, rest = split_at(self._text, self.end)
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
