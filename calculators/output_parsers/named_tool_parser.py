"""Tool calls as a name and a JSON object: many families write the name outside of the JSON."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from calculators.output_parsers.json_scanner import JsonScanner
from calculators.output_parsers.output_parser import ToolParser, split_at
from calculators.output_parsers.parsed_output import ParsedOutput

__all__ = ["CallForm", "NamedToolParser"]

# OpenAI's names have at most 64 characters.
MAX_HEAD_LENGTH = 300


@dataclass(frozen=True, slots=True)
class CallForm:
    """How a call is written: `begin`, a head with the name, a JSON object, `endings` in a row.

    `head` has a group `name`. Each of the endings may be missing.
    """

    begin: str
    head: re.Pattern[str]
    endings: tuple[str, ...] = ()


class NamedToolParser(ToolParser):
    """Finds calls of one of the `forms`, alone or between the tags `begin` and `end`.

    The arguments are sent as they come; if they are broken, the rest is sent as the model wrote
    it. Text that is no call is content, markers included.
    """

    forms: ClassVar[tuple[CallForm, ...]]
    begin: ClassVar[str] = ""
    end: ClassVar[str] = ""

    def __init__(self, output: ParsedOutput, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(output, tools)
        self._by_begin = {form.begin: form for form in self.forms}
        self._form = self.forms[0]
        self._raw = ""
        self._is_in_section = False
        self._endings: tuple[str, ...] = ()
        self._scanner = JsonScanner()

    def finish(self) -> None:
        """A call that ends before its arguments begin is content."""
        if self._step == self._broken_arguments:
            self._output.arguments(self._text)
        elif self._step == self._after_call:
            text = self._text.strip()
            if text and not any(e.startswith(text) for e in self._endings):
                self._output.content(self._text)
        elif self._step != self._arguments:
            self._output.content(self._raw + self._text)

    def _start(self) -> bool:
        self._step = self._outside
        return True

    def _outside(self) -> bool:
        tags = (self.begin, self.end if self._is_in_section else "", *self._by_begin)
        before, marker, self._text = split_at(self._text, *filter(None, tags))
        self._output.content(before)
        if marker is None:
            return False
        if marker == self.end:
            self._is_in_section = False
            return True
        self._raw = marker
        if marker == self.begin:
            self._step = self._expect_call
        else:
            self._form = self._by_begin[marker]
            self._step = self._head
        return True

    def _expect_call(self) -> bool:
        """Behind `begin` there is a call, or it is content."""
        text = self._text.lstrip()
        if any(text != begin and begin.startswith(text) for begin in self._by_begin):
            return False
        for begin, form in self._by_begin.items():
            if text.startswith(begin):
                rest = text.removeprefix(begin)
                self._raw += self._text[: len(self._text) - len(rest)]
                self._text = rest
                self._form = form
                self._step = self._head
                self._is_in_section = True
                return True
        return self._give_up()

    def _head(self) -> bool:
        """The head goes up to the arguments, or to the end of a call without any."""
        ends = ("{", *self._form.endings[-1:], *self._by_begin)
        head, marker, _ = split_at(self._text, *ends)
        longest = MAX_HEAD_LENGTH if marker else MAX_HEAD_LENGTH + max(map(len, ends))
        if len(head) > longest:
            return self._give_up()
        if marker is None:
            return False
        found = self._form.head.fullmatch(head)
        if found is None or marker in self._by_begin:
            return self._give_up()
        self._output.start_call(found["name"])
        self._raw = ""
        self._text = self._text[len(head) :]
        if marker == "{":
            self._scanner = JsonScanner()
            self._step = self._arguments
        else:
            self._output.arguments("{}")
            self._end_call()
        return True

    def _give_up(self) -> bool:
        self._output.content(self._raw)
        self._raw = ""
        self._step = self._outside
        return True

    def _arguments(self) -> bool:
        end = self._scanner.feed(self._text)
        self._output.arguments(self._scanner.text)
        self._text = self._text[end:]
        if self._scanner.is_complete:
            self._end_call()
        elif self._scanner.is_broken:
            self._step = self._broken_arguments
        return True

    def _end_call(self) -> None:
        self._endings = (*self._form.endings, self.end) if self.end else self._form.endings
        self._step = self._after_call

    def _after_call(self) -> bool:
        text = self._text.lstrip()
        if any(text != ending and ending.startswith(text) for ending in self._endings):
            return False
        for place, ending in enumerate(self._endings):
            if text.startswith(ending):
                self._text = text.removeprefix(ending)
                self._endings = self._endings[place + 1 :]
                self._is_in_section = self._is_in_section and ending != self.end
                return True
        self._step = self._outside
        return True

    def _broken_arguments(self) -> bool:
        last = self._form.endings[-1:] or (self._form.begin,)
        before, marker, rest = split_at(self._text, *last)
        self._output.arguments(before)
        self._text = rest
        if marker is None:
            return False
        self._text = marker + rest
        self._end_call()
        return True
