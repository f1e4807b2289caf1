"""gpt-oss: messages in channels, <|channel|>analysis<|message|>...<|end|> and so on.

The Harmony format: https://cookbook.openai.com/articles/openai-harmony
"""

import re

from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.output_parser import (
    CallFrame,
    MessageFrame,
    OutputParser,
    ReasoningParser,
    ThinkingForm,
    ToolParser,
    split_at,
)
from calculators.output_parsers.parsed_output import ParsedOutput

__all__ = ["GptOss", "GptOssReasoningParser", "GptOssToolParser"]

START = "<|start|>"
CHANNEL = "<|channel|>"
CONSTRAIN = "<|constrain|>"
MESSAGE = "<|message|>"
ENDS = ("<|end|>", "<|call|>", "<|return|>")
MARKERS = (START, CHANNEL, CONSTRAIN, MESSAGE, *ENDS)

REASONING_CHANNEL = "analysis"

# The longest head that models write has about a hundred.
MAX_HEAD_LENGTH = 500

_RECIPIENT = re.compile(r"\bto=([\w.-]+)")
_CHANNEL_NAME = re.compile(r"<\|channel\|>\s*(\w+)")
# Words, recipients and markers; the last marker may be cut off.
_HEAD = re.compile(r"(to=[^\s<]*+|<\|(start|channel|constrain)\|>|\w|\s)*(<[|a-z]*)?")


class GptOssToolParser(ToolParser):
    """Takes the messages for the user; a head says whether a message is for a tool.

    The reasoning parser of this family reads the heads, so it always comes first.
    """

    markers = (f"{CHANNEL}commentary to=", *MARKERS)
    frame = CallFrame(
        before_name=f"{CHANNEL}commentary to=functions.",
        before_arguments=f" {CONSTRAIN}json{MESSAGE}",
        after_arguments="",
        between=f"<|call|>{START}assistant",
    )

    def find_name(self, recipient: str) -> str | None:
        """The tool that a message to this recipient calls, if it is one."""
        name = recipient.removeprefix("functions.")
        is_tool = name != recipient or any(tool["function"]["name"] == name for tool in self._tools)
        return name if is_tool else None

    def finish(self) -> None:
        """Nothing is ever held back."""

    def _start(self) -> bool:
        self._output.content(self._text)
        self._text = ""
        return True


class GptOssReasoningParser(ReasoningParser):
    """Reads the heads of messages: the analysis channel is reasoning, calls have a recipient.

    Everything else is for the user. Messages of one kind are separated by a line break.
    """

    markers = MARKERS
    messages = MessageFrame(
        reasoning_begin=f"{CHANNEL}{REASONING_CHANNEL}{MESSAGE}",
        reasoning_end="<|end|>",
        next_message=f"{START}assistant",
        answer_begin=f"{CHANNEL}final{MESSAGE}",
    )

    def __init__(self, output: ParsedOutput, then: OutputParser, prompt: str) -> None:
        super().__init__(output, then, prompt)
        self._message_step = self._content
        self._needs_arguments = False
        self._has_content = False
        self._has_reasoning = False

    @classmethod
    def thinking_forms(cls) -> tuple[ThinkingForm, ...]:
        """Behind the budget a message of another channel must follow."""
        analysis = f"{CHANNEL}{REASONING_CHANNEL}{MESSAGE}"
        closing = f"{ENDS[0]}{START}assistant{CHANNEL}"
        return (
            ThinkingForm(
                analysis, ENDS[0], closing, is_repeated=True, never_next=REASONING_CHANNEL
            ),
        )

    def finish(self) -> None:
        """A head that was cut off is dropped; other text is not."""
        if self._step == self._message:
            # Behind arguments it is the beginning of a marker.
            if self._message_step != self._arguments:
                self._message_step(self._text)
            self._end_message()
        elif self._step == self._start or not _HEAD.fullmatch(self._text):
            self._content(self._text)
        self._then.finish()

    def _start(self) -> bool:
        """Expect a head; a message without one is for the user."""
        text = self._text.lstrip()
        beginnings = (*MARKERS, "to=")
        if any(text != marker and marker.startswith(text) for marker in beginnings):
            return False
        if text.startswith(beginnings):
            self._step = self._head
        else:
            self._begin_message("")
        return True

    def _head(self) -> bool:
        head, marker, rest = self._text.partition(MESSAGE)
        if len(head) > MAX_HEAD_LENGTH + len(MESSAGE) or (marker and len(head) > MAX_HEAD_LENGTH):
            self._begin_message("")
            self._content(self._text[0])
            self._text = self._text[1:]
            return True
        if not marker:
            return False
        self._text = rest
        if _HEAD.fullmatch(head):
            self._begin_message(head)
        else:
            self._begin_message("")
            self._content(head + marker)
        return True

    def _begin_message(self, head: str) -> None:
        recipient = _RECIPIENT.search(head)
        channel = _CHANNEL_NAME.search(head)
        name = None
        if recipient is not None and isinstance(self._then, GptOssToolParser):
            name = self._then.find_name(recipient.group(1))
        if name is not None:
            self._output.start_call(name)
            self._needs_arguments = True
            self._message_step = self._arguments
        elif channel is not None and channel.group(1) == REASONING_CHANNEL:
            if self._has_reasoning:
                self._output.reasoning("\n")
            self._message_step = self._reasoning
        else:
            if self._has_content:
                self._then.feed("\n")
            self._message_step = self._content
        self._step = self._message

    def _message(self) -> bool:
        before, marker, self._text = split_at(self._text, *ENDS, START, CHANNEL)
        self._message_step(before)
        if marker is None:
            return False
        self._end_message()
        if marker not in ENDS:
            self._text = marker + self._text
        self._step = self._start
        return True

    def _end_message(self) -> None:
        if self._needs_arguments:
            self._output.arguments("{}")
            self._needs_arguments = False

    def _arguments(self, text: str) -> None:
        """A call without arguments has a blank message."""
        if self._needs_arguments:
            text = text.lstrip()
        if text:
            self._needs_arguments = False
            self._output.arguments(text)

    def _content(self, text: str) -> None:
        self._has_content = self._has_content or bool(text)
        self._then.feed(text)

    def _reasoning(self, text: str) -> None:
        if text:
            self._has_reasoning = True
            self._output.reasoning(text)


class GptOss(ModelFamily):
    """Tool and reasoning parser of gpt-oss: messages in channels, the Harmony format."""

    tool_parser = GptOssToolParser
    reasoning_parser = GptOssReasoningParser
    template_marks = (("<|channel|>",),)
    is_inseparable = True
    aliases = ("openai", "openai_gptoss")
