"""The base classes of the parsers, one file per model family beside this one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from calculators.output_parsers.parsed_output import ParsedOutput

__all__ = [
    "ArgumentFrame",
    "CallFrame",
    "MessageFrame",
    "OutputParser",
    "PlainText",
    "ReasoningParser",
    "ThinkingForm",
    "ToolParser",
    "split_at",
]

PIECE_LENGTH = 4096


@dataclass(frozen=True, slots=True)
class ArgumentFrame:
    """The text that a family writes around each argument, where it writes no JSON object.

    One argument is `before_key`, the key, `before_value`, the value in JSON, `after_value`. If
    there is an `after_string`, a string is plain text between `before_string` and `after_string`
    instead. Arguments are joined by `between`.
    """

    before_key: str
    before_value: str
    after_value: str = ""
    before_string: str = ""
    after_string: str = ""
    between: str = ""


@dataclass(frozen=True, slots=True)
class CallFrame:
    """The text that a family writes around tool calls; a grammar can enforce it.

    One call is `before_name`, the name, `before_arguments`, the arguments, `after_arguments`. The
    arguments are a JSON object, or as `argument` says. Calls are joined by `between` and stand
    between `begin` and `end`.
    """

    before_name: str
    before_arguments: str
    after_arguments: str
    between: str = ""
    begin: str = ""
    end: str = ""
    argument: ArgumentFrame | None = None


@dataclass(frozen=True, slots=True)
class MessageFrame:
    """How a family whose answers are messages writes them; a grammar can enforce it.

    Reasoning is between `reasoning_begin` and `reasoning_end`, then comes `next_message`. An
    answer that is no tool call begins with `answer_begin`.
    """

    reasoning_begin: str
    reasoning_end: str
    next_message: str
    answer_begin: str


@dataclass(frozen=True, slots=True)
class ThinkingForm:
    """The texts around a model's reasoning. A token budget ends it by forcing `closing`.

    `end` and `other_ends` end it. It comes at the beginning of an answer; where it `is_repeated`,
    anywhere. Directly behind `closing` the answer cannot go on with `never_next`.
    """

    begin: str
    end: str
    closing: str
    other_ends: tuple[str, ...] = ()
    is_repeated: bool = False
    never_next: str = ""


class OutputParser(ABC):
    """Splits the text of one choice as it comes.

    A subclass is a state machine: `_step` is the state. It takes text from the front of `_text`,
    may set another method as `_step`, and returns True; or it returns False to wait for more text.
    """

    def __init__(self, output: ParsedOutput) -> None:
        self._output = output
        self._text = ""
        self._step: Callable[[], bool] = self._start

    def feed(self, text: str) -> None:
        """Take more text."""
        # The steps search all of `_text` for markers, each time that they found one.
        for place in range(0, len(text), PIECE_LENGTH):
            self._text += text[place : place + PIECE_LENGTH]
            while self._text and self._step():
                pass

    @abstractmethod
    def finish(self) -> None:
        """The text has ended, maybe inside a call: send what is left."""

    @abstractmethod
    def _start(self) -> bool:
        """The first step."""


class ToolParser(OutputParser):
    """Finds the tool calls in a text; all other text is content.

    `markers` are the texts that it looks for: the detokenizer keeps them, even if they are special
    tokens. `tools` are those of the request.
    """

    markers: ClassVar[tuple[str, ...]]
    frame: ClassVar[CallFrame | None] = None

    def __init__(self, output: ParsedOutput, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(output)
        self._tools = tools
        self._tool_names = frozenset(tool["function"]["name"] for tool in tools)


class ReasoningParser(OutputParser):
    """Finds the reasoning in a text and gives the rest to the parser `then`.

    `prompt` is the text of the prompt: some chat templates begin the reasoning in it.
    """

    markers: ClassVar[tuple[str, ...]]
    messages: ClassVar[MessageFrame | None] = None

    def __init__(self, output: ParsedOutput, then: OutputParser, prompt: str) -> None:
        super().__init__(output)
        self._then = then
        self._prompt = prompt

    @classmethod
    def thinking_forms(cls) -> tuple[ThinkingForm, ...]:
        """The texts around the reasoning, the usual ones first; none where nothing can end it."""
        return ()

    @classmethod
    def is_begun(cls, prompt: str) -> bool:
        """Whether the prompt has begun the reasoning, in the usual form."""
        return False


class PlainText(OutputParser):
    """Takes everything as content."""

    def finish(self) -> None:
        """Nothing is ever held back."""

    def _start(self) -> bool:
        self._output.content(self._text)
        self._text = ""
        return True


def split_at(text: str, *markers: str) -> tuple[str, str | None, str]:
    """Split at the first of the markers: the text before it, the marker, the text behind it.

    If there is none, the third part is the end of the text that may be the start of a marker.
    """
    found = [(place, marker) for marker in markers if (place := text.find(marker)) >= 0]
    if found:
        place, marker = min(found)
        return text[:place], marker, text[place + len(marker) :]
    begun = min(_find_beginning(text, marker) for marker in markers)
    return text[:begun], None, text[begun:]


def _find_beginning(text: str, marker: str) -> int:
    """Where the text's end, if it is the start of the marker, begins; else the text's length."""
    place = text.find(marker[0], max(0, len(text) - len(marker) + 1))
    while place >= 0:
        if marker.startswith(text[place:]):
            return place
        place = text.find(marker[0], place + 1)
    return len(text)
