"""Tool calls with a tag for the name, and tags for the key and the value of each argument."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from calculators.output_parsers.output_parser import ToolParser, split_at
from calculators.output_parsers.parsed_output import ParsedOutput
from calculators.output_parsers.value_tags import ValueTags
from calculators.output_parsers.value_types import ParameterTypes, to_json

__all__ = ["TaggedValueParser"]

# OpenAI's names have at most 64 characters.
MAX_NAME_LENGTH = 300

QUOTE = '"'
CDATA, CDATA_END = "<![CDATA[", "]]>"
STRING = frozenset({"string"})
_NAME = re.compile(r"[^\s<>{}\"]+")


class TaggedValueParser(ToolParser):
    """Turns the arguments into JSON, by their types in the request's tools.

    Values are plain text. A string becomes a JSON string while it arrives; other values are JSON
    when they are complete. A value that does not fit its type becomes a string. A tag inside of a
    value counts only if another tag, or the end of the text, follows it.
    """

    tags: ClassVar[ValueTags]

    def __init__(self, output: ParsedOutput, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(output, tools)
        self._raw = ""
        self._is_in_section = False
        self._keys: set[str] = set()
        self._parameters = ParameterTypes((), "")
        self._types = STRING
        self._value: list[str] = []
        self._value_end = self.tags.value_end
        self._is_finished = False

    def finish(self) -> None:
        """A call that was cut off keeps its text so far; without a name it is content."""
        self._is_finished = True
        while self._text and self._step():
            pass
        if self._step == self._read_value:
            # What is left is the beginning of a tag.
            if self._types != STRING:
                self._output.arguments("".join(self._value).strip())
        elif self._step == self._key:
            key, _, _ = split_at(self._text, self.tags.key_end)
            self._output.arguments(f'{self._separator()}"{_escape(key.partition(QUOTE)[0])}')
        elif self._step in (self._outside, self._expect_call, self._name):
            self._output.content(self._raw + self._text)

    def _start(self) -> bool:
        self._step = self._outside
        return True

    def _outside(self) -> bool:
        """Look for a call; models forget the outer tag."""
        end = self.tags.end if self._is_in_section else ""
        before, marker, self._text = split_at(
            self._text, *filter(None, (self.tags.begin, self.tags.call_begin, end))
        )
        self._output.content(before)
        if marker is None:
            return False
        if marker == end:
            self._is_in_section = False
            return True
        self._raw = marker
        self._step = self._name if marker == self.tags.call_begin else self._expect_call
        return True

    def _expect_call(self) -> bool:
        begin = self.tags.call_begin
        text = self._text.lstrip()
        if text != begin and begin.startswith(text):
            return False
        if not text.startswith(begin):
            return self._give_up()
        text = text.removeprefix(begin)
        self._raw += self._text[: len(self._text) - len(text)]
        self._text = text
        self._step = self._name
        return True

    def _name(self) -> bool:
        tags = self.tags
        text = self._text.lstrip()
        name, marker, rest = split_at(text, tags.name_end, tags.key_begin, tags.call_end)
        if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name.rstrip() or "x"):
            return self._give_up()
        if marker is None:
            return False
        name = name.strip(" ") if marker == tags.name_end else name.rstrip()
        if not _NAME.fullmatch(name):
            return self._give_up()
        self._output.start_call(name)
        self._is_in_section = self._is_in_section or self._raw != tags.call_begin
        self._raw = ""
        self._keys = set()
        self._parameters = ParameterTypes(self._tools, name)
        self._text = rest if marker == tags.name_end else marker + rest
        self._step = self._body
        return True

    def _give_up(self) -> bool:
        self._output.content(self._raw)
        self._raw = ""
        self._step = self._outside
        return True

    def _body(self) -> bool:
        """Between the arguments; other text is content."""
        tags = self.tags
        before, marker, self._text = split_at(self._text, *tags.all)
        self._output.content(before)
        if marker is None:
            return False
        if marker == tags.key_begin:
            self._step = self._key
            return True
        self._output.arguments("}" if self._keys else "{}")
        self._step = self._after_call if marker == tags.call_end else self._outside
        if marker not in (tags.call_end, tags.end):
            self._text = marker + self._text
        return True

    def _key(self) -> bool:
        tags = self.tags
        key, marker, rest = split_at(self._text, tags.key_end)
        if not _is_short_line(key):
            self._output.content(tags.key_begin)
            self._step = self._body
            return True
        if marker is None:
            return False
        key, types = self._find_types(key)
        self._output.arguments(f'{self._separator()}"{_escape(key)}": ')
        self._keys.add(key)
        self._types = types
        self._text = rest
        self._step = self._before_value
        return True

    def _find_types(self, key: str) -> tuple[str, frozenset[str]]:
        tags = self.tags
        types = self._parameters.of(key)
        for mark in filter(None, (tags.string_mark, tags.other_mark)):
            if key.endswith(mark):
                key = key.removesuffix(mark)
                return key, STRING if mark == tags.string_mark else self._parameters.of(key)
        return key, types or STRING

    def _separator(self) -> str:
        return ", " if self._keys else "{"

    def _before_value(self) -> bool:
        tags = self.tags
        text = self._text.lstrip() if tags.value_begin else self._text
        if tags.value_begin and tags.value_begin.startswith(text) and text != tags.value_begin:
            return False
        self._text = text.removeprefix(tags.value_begin)
        self._step = self._first_line
        return True

    def _first_line(self) -> bool:
        self._value_end = self.tags.value_end
        if self.tags.has_cdata:
            if self._text != CDATA and CDATA.startswith(self._text):
                return False
            if self._text.startswith(CDATA):
                self._text = self._text.removeprefix(CDATA)
                self._value_end = CDATA_END + self._value_end
                self._types = STRING if "string" in self._types else self._types
        if self.tags.has_lines:
            self._text = self._text.removeprefix("\n")
        self._value = []
        if self._types == STRING:
            self._output.arguments('"')
        self._step = self._read_value
        return True

    def _read_value(self) -> bool:
        tags = self.tags
        before, marker, rest = split_at(self._text, self._value_end, *tags.all)
        ends = None if marker is None else self._ends_value(before, marker, rest)
        if ends is None:
            # The line break may be the one before the end tag.
            shown = before.removesuffix("\n") if tags.has_lines else before
            self._take(shown)
            self._text = before[len(shown) :] + (marker or "") + rest
            return False
        assert marker is not None
        self._text = rest
        if not ends:
            self._take(before + marker)
            return True
        self._take(before.removesuffix("\n") if tags.has_lines else before)
        is_string = self._types == STRING
        self._output.arguments('"' if is_string else to_json("".join(self._value), self._types))
        if marker != self._value_end:
            self._text = marker + rest
        self._step = self._body
        return True

    def _take(self, text: str) -> None:
        if self._types == STRING:
            self._output.arguments(_escape(text))
        else:
            self._value.append(text)

    def _ends_value(self, before: str, marker: str, rest: str) -> bool | None:
        """Whether a tag in a value ends it; None if that depends on what follows."""
        tags = self.tags
        if marker == tags.key_begin:
            return self._ends_before_key(before, rest)
        behind = rest.lstrip()
        if marker == self._value_end:
            followers = tags.all
        elif marker == tags.begin or not tags.begin:
            followers = (tags.call_begin,)
        else:
            followers = (tags.end, tags.begin, tags.call_begin)
        if marker == tags.call_begin:
            return False
        if any(tag != behind and tag.startswith(behind) for tag in followers):
            return True if self._is_finished else None
        return behind.startswith(followers)

    def _ends_before_key(self, before: str, rest: str) -> bool | None:
        """A forgotten end of a value: the next key is one that the tool has."""
        key, marker, _ = split_at(rest, self.tags.key_end)
        if not _is_short_line(key):
            return False
        if marker is None:
            return False if self._is_finished else None
        key, _ = self._find_types(key)
        if not self._parameters.properties:
            return before.endswith("\n") or not self.tags.has_lines
        return key in self._parameters.properties and key not in self._keys

    def _after_call(self) -> bool:
        end = self.tags.end
        text = self._text.lstrip()
        if text != end and end.startswith(text):
            return False
        self._is_in_section = self._is_in_section and not (end and text.startswith(end))
        self._text = text.removeprefix(end)
        self._step = self._outside
        return True


def _escape(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _is_short_line(text: str) -> bool:
    return len(text) <= MAX_NAME_LENGTH and "\n" not in text and "<" not in text
