"""Mistral: [TOOL_CALLS][{"name": ..., "arguments": {...}}], and [TOOL_CALLS]name{...} since v11.

https://github.com/mistralai/mistral-common
"""

from calculators.output_parsers.json_tool_parser import CallReader, JsonToolParser
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.named_call_reader import ARGS, CALL_ID, NamedCallReader

__all__ = ["Mistral", "MistralToolParser"]


class MistralToolParser(JsonToolParser):
    """Takes both forms: older models write the first one."""

    begin = "[TOOL_CALLS]"
    opening = "["
    separator = ","
    closing = "]"
    can_be_bare = True
    markers = (begin, ARGS, CALL_ID)

    def _make_reader(self, first_character: str) -> CallReader:
        if first_character.isalpha() or first_character == "_":
            return NamedCallReader(self._output)
        return super()._make_reader(first_character)


class Mistral(ModelFamily):
    """Tool parser of Mistral: [TOOL_CALLS] with a JSON list, or with a name before each object."""

    tool_parser = MistralToolParser
    template_marks = (("[TOOL_CALLS]",),)
