"""An answer between two tags, which some families write around it after their reasoning."""

from collections.abc import Sequence

from calculators.output_parsers.output_parser import OutputParser, ToolParser, split_at
from calculators.output_parsers.parsed_output import ParsedOutput

__all__ = ["TaggedAnswerParser"]


class TaggedAnswerParser(OutputParser):
    """Drops the tags of `tags` around the answer and gives the rest to the parser `then`.

    The first tag counts only at the beginning, the second one only at the end or before a tool
    call: in the middle of a text they may be what the model writes about.
    """

    def __init__(
        self, output: ParsedOutput, then: OutputParser, tags: Sequence[tuple[str, str]]
    ) -> None:
        super().__init__(output)
        self._then = then
        self._tags = tags
        self._end = ""
        self._markers = then.markers if isinstance(then, ToolParser) else ()

    def finish(self) -> None:
        """An answer without the second tag was cut off."""
        if self._step == self._inside:
            before, marker, rest = split_at(self._text, self._end)
            self._then.feed(before.rstrip() if marker else before + rest)
        else:
            self._then.feed(self._text)
        self._then.finish()

    def _start(self) -> bool:
        text = self._text.lstrip()
        if any(text != begin and begin.startswith(text) for begin, _ in self._tags):
            return False
        self._step = self._outside
        for begin, end in self._tags:
            if text.startswith(begin):
                self._text = text.removeprefix(begin)
                self._end = end
                self._step = self._before_answer
        return True

    def _before_answer(self) -> bool:
        self._text = self._text.lstrip()
        if not self._text:
            return False
        self._step = self._inside
        return True

    def _inside(self) -> bool:
        before, marker, rest = split_at(self._text, self._end)
        shown = before.rstrip()
        self._then.feed(shown)
        self._text = before[len(shown) :] + (marker or "") + rest
        if marker is None:
            return False
        behind = rest.lstrip()
        if not behind or any(m != behind and m.startswith(behind) for m in self._markers):
            return False
        if behind.startswith(self._markers):
            self._text = rest
            self._step = self._outside
        else:
            self._then.feed(self._text[: len(self._text) - len(rest)])
            self._text = rest
        return True

    def _outside(self) -> bool:
        self._then.feed(self._text)
        self._text = ""
        return False
