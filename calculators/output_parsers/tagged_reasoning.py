"""Reasoning between two tags before the answer, as most families write it."""

from typing import ClassVar

from calculators.output_parsers.output_parser import (
    OutputParser,
    ReasoningParser,
    ThinkingForm,
    split_at,
)
from calculators.output_parsers.parsed_output import ParsedOutput
from calculators.output_parsers.tagged_answer import TaggedAnswerParser

__all__ = ["TaggedReasoningParser"]


class TaggedReasoningParser(ReasoningParser):
    """Takes the reasoning at the beginning of the text.

    For models that always reason, the chat template writes the first tag into the prompt.
    `other_tags` are further pairs of `begin` and `end`, `ends_before` are markers of the answer
    that end the reasoning without its tag, and `answer_tags` are pairs of tags around the answer.
    """

    begin: ClassVar[str]
    end: ClassVar[str]
    other_tags: ClassVar[tuple[tuple[str, str], ...]] = ()
    ends_before: ClassVar[tuple[str, ...]] = ()
    answer_tags: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, output: ParsedOutput, then: OutputParser, prompt: str) -> None:
        if self.answer_tags:
            then = TaggedAnswerParser(output, then, self.answer_tags)
        super().__init__(output, then, prompt)
        self._end = self.end
        if self.is_begun(prompt):
            self._step = self._before_reasoning

    @classmethod
    def thinking_forms(cls) -> tuple[ThinkingForm, ...]:
        """Each pair of tags; the last one closes."""
        pairs = ((cls.begin, cls.end), *cls.other_tags)
        return tuple(ThinkingForm(begin, end, end, cls.ends_before) for begin, end in pairs)

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
        tags = ((self.begin, self.end), *self.other_tags)
        if any(text != begin and begin.startswith(text) for begin, _ in tags):
            return False
        self._step = self._answer
        for begin, end in tags:
            if text.startswith(begin):
                self._text = text.removeprefix(begin)
                self._end = end
                self._step = self._before_reasoning
        return True

    def _before_reasoning(self) -> bool:
        self._text = self._text.lstrip()
        if not self._text:
            return False
        self._step = self._reasoning
        return True

    def _reasoning(self) -> bool:
        before, marker, rest = split_at(self._text, self._end, *self.ends_before)
        shown = before.rstrip()
        if shown or marker:
            self._output.reasoning(shown)
        if marker is None:
            self._text = before[len(shown) :] + rest
            return False
        self._text = rest if marker == self._end else marker + rest
        self._step = self._answer
        return True

    def _answer(self) -> bool:
        self._then.feed(self._text)
        self._text = ""
        return False
