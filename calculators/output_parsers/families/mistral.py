"""Mistral: [TOOL_CALLS][{"name": ..., "arguments": {...}}], and [TOOL_CALLS]name{...} since v11.

https://github.com/mistralai/mistral-common
"""

from calculators.output_parsers.json_tool_parser import CallReader, JsonToolParser
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.named_call_reader import ARGS, CALL_ID, NamedCallReader
from calculators.output_parsers.output_parser import CallFrame
from calculators.output_parsers.tagged_reasoning import TaggedReasoningParser

__all__ = ["Mistral", "MistralReasoningParser", "MistralToolParser"]


class MistralToolParser(JsonToolParser):
    """Takes both forms: older models write the first one."""

    begin = "[TOOL_CALLS]"
    can_be_bare = True
    markers = (begin, ARGS, CALL_ID)
    frame = CallFrame(
        begin=f"{begin}[",
        before_name='{"name": "',
        before_arguments='", "arguments": ',
        after_arguments="}",
        between=", ",
        end="]",
    )

    def _make_reader(self, first_character: str) -> CallReader:
        if first_character == "{" or not self._begins_call(first_character):
            return super()._make_reader(first_character)
        return NamedCallReader(self._output)

    def _begins_call(self, character: str) -> bool:
        return character in "{_" or character.isalpha()


class MistralReasoningParser(TaggedReasoningParser):
    """Thoughts in tokens of its own."""

    begin = "[THINK]"
    end = "[/THINK]"
    markers = (begin, end)


class Mistral(ModelFamily):
    """Tool and reasoning parser of Mistral: [TOOL_CALLS] with JSON or name{...}, [THINK] tags."""

    tool_parser = MistralToolParser
    reasoning_parser = MistralReasoningParser
    reasoning_marks = ("[THINK]",)
    template_marks = (("[TOOL_CALLS]",),)
