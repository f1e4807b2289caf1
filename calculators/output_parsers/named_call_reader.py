"""A tool call as a name and a JSON object: name{...}, or name[ARGS]{...}."""

import re

from calculators.output_parsers.json_call_reader import CallState
from calculators.output_parsers.json_scanner import JsonScanner
from calculators.output_parsers.parsed_output import ParsedOutput

__all__ = ["ARGS", "CALL_ID", "NamedCallReader"]

ARGS = "[ARGS]"
CALL_ID = "[CALL_ID]"
# OpenAI's names have at most 64 characters.
MAX_HEAD_LENGTH = 300

_NAME = re.compile(r"[\w.-]+")
_ID = re.compile(r"\s*\w*\s*")


class NamedCallReader:
    """Reads one call as it comes, with the same states as JsonCallReader."""

    def __init__(self, output: ParsedOutput) -> None:
        self._output = output
        self._scanner = JsonScanner()
        self.is_started = False
        self.raw = ""
        self.state = CallState.READING

    def feed(self, text: str) -> str:
        """Read on; return the text behind the call, or the one from where it is broken."""
        position = 0
        while position < len(text) and self.state is CallState.READING:
            if self.is_started:
                position = self._read_arguments(text, position)
            elif text[position] == "{":
                self._end_head()
            else:
                position = self._read_head(text, position)
        return text[position:]

    def _read_head(self, text: str, position: int) -> int:
        head = self.raw + text[position]
        if len(head) > MAX_HEAD_LENGTH or not _may_begin_head(head):
            self.state = CallState.NONE
            return position
        self.raw = head
        return position + 1

    def _end_head(self) -> None:
        name = _NAME.match(self.raw)
        rest = "" if name is None else self.raw[name.end() :].strip()
        if name is None or (rest and not rest.endswith(ARGS)):
            self.state = CallState.NONE
            return
        self.is_started = True
        self._output.start_call(name.group())

    def _read_arguments(self, text: str, position: int) -> int:
        end = self._scanner.feed(text, position)
        self._output.arguments(self._scanner.text)
        if self._scanner.is_complete:
            self.state = CallState.COMPLETE
        elif self._scanner.is_broken:
            self.state = CallState.CUT
        return end


def _may_begin_head(text: str) -> bool:
    """Whether a text can be the beginning of what stands before the object."""
    name = _NAME.match(text)
    if name is None:
        return False
    rest = text[name.end() :].lstrip()
    if rest.startswith(CALL_ID):
        found = _ID.match(rest, len(CALL_ID))
        assert found is not None
        rest = rest[found.end() :]
    elif CALL_ID.startswith(rest):
        return True
    if rest.startswith(ARGS):
        return not rest.removeprefix(ARGS).strip()
    return ARGS.startswith(rest)
