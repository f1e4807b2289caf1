"""The result of the parsers for one choice: content, reasoning and tool calls."""

import secrets
import string
from dataclasses import dataclass

from calculators.output_parsers.json_scanner import JsonScanner
from server.payloads import ToolCallDelta

__all__ = ["ParsedDelta", "ParsedOutput"]

# Mistral's chat templates take ids of exactly nine letters and digits; others take any.
ID_CHARACTERS = string.ascii_letters + string.digits
ID_LENGTH = 9


@dataclass(frozen=True, slots=True)
class ParsedDelta:
    """What is new since the last delta."""

    content: str
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()


class ParsedOutput:
    """Collects the findings of the parsers of one choice, in the order of the text.

    White space around reasoning and tool calls is dropped; inside content it stays. So an answer
    of only tool calls has no content.
    """

    __slots__ = (
        "_arguments",
        "_calls",
        "_content",
        "_held",
        "_reasoning",
        "_skips_space",
        "num_calls",
    )

    def __init__(self) -> None:
        self._content = ""
        self._reasoning = ""
        self._calls: list[ToolCallDelta] = []
        self._held: list[str] = []
        self._skips_space = False
        self._arguments: list[str] = []
        self.num_calls = 0

    def content(self, text: str) -> None:
        """Append to the content; white space at the end waits for the text after it."""
        if self._skips_space:
            text = text.lstrip()
        if not text:
            return
        self._skips_space = False
        shown = text.rstrip()
        if shown:
            self._content += "".join(self._held) + shown
            self._held = []
        self._held.append(text[len(shown) :])

    def reasoning(self, text: str) -> None:
        """Append to the reasoning, without the white space around it."""
        self._reasoning += text
        self._drop_space()

    def start_call(self, name: str) -> None:
        """Begin the next tool call."""
        self._drop_space()
        self._arguments = []
        call_id = "".join(secrets.choice(ID_CHARACTERS) for _ in range(ID_LENGTH))
        self._calls.append(ToolCallDelta(self.num_calls, call_id, name, ""))
        self.num_calls += 1

    def arguments(self, text: str) -> None:
        """Append to the arguments of the tool call that began last."""
        assert self.num_calls, "arguments without a call"
        if not text:
            return
        self._drop_space()
        self._arguments.append(text)
        index = self.num_calls - 1
        call_id = name = None
        if self._calls and self._calls[-1].index == index:
            last = self._calls.pop()
            call_id, name, text = last.id, last.name, last.arguments + text
        self._calls.append(ToolCallDelta(index, call_id, name, text))

    def is_cut(self) -> bool:
        """Whether the text ended inside the arguments of the last call."""
        scanner = JsonScanner()
        scanner.feed("".join(self._arguments))
        return self.num_calls > 0 and not (scanner.is_complete or scanner.is_broken)

    def finish(self) -> None:
        """Release what was held back; nothing follows."""
        self._content += "".join(self._held)
        self._held = []

    def take(self) -> ParsedDelta:
        """Return what is new and begin anew."""
        delta = ParsedDelta(self._content, self._reasoning, tuple(self._calls))
        self._content = self._reasoning = ""
        self._calls.clear()
        return delta

    def _drop_space(self) -> None:
        self._held = []
        self._skips_space = True
