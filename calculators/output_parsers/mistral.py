"""Mistral: [TOOL_CALLS][{"name": ..., "arguments": {...}}], and [TOOL_CALLS]name{...} since v11.

https://github.com/mistralai/mistral-common
"""

from calculators.output_parsers.json_tool_parser import CallReader, JsonToolParser
from calculators.output_parsers.named_call_reader import ARGS, CALL_ID, NamedCallReader

__all__ = ["MistralToolParser"]


class MistralToolParser(JsonToolParser):
    """Takes both forms: which one a model writes depends on its age."""

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
