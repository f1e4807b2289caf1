"""Hermes 2 and 3, Qwen 2.5 and 3: <tool_call>{"name": ..., "arguments": {...}}</tool_call>."""

from calculators.output_parsers.json_tool_parser import JsonToolParser
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.output_parser import CallFrame

__all__ = ["Hermes3", "Hermes3ToolParser"]


class Hermes3ToolParser(JsonToolParser):
    """One pair of tags for each call."""

    begin = "<tool_call>"
    closing = "</tool_call>"
    markers = (begin, closing)
    frame = CallFrame(
        before_name=f'{begin}\n{{"name": "',
        before_arguments='", "arguments": ',
        after_arguments=f"}}\n{closing}",
        between="\n",
    )


class Hermes3(ModelFamily):
    """Tool parser of Hermes 2 and 3, Qwen 2.5 and 3: JSON in <tool_call> tags."""

    tool_parser = Hermes3ToolParser
    template_marks = (("<tool_call>",),)
    is_generic = True
    aliases = ("hermes",)
