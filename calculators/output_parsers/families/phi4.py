"""Phi-4 mini: functools[{"name": ..., "arguments": {...}}, {...}]."""

from calculators.output_parsers.json_tool_parser import JsonToolParser
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.output_parser import CallFrame

__all__ = ["Phi4", "Phi4ToolParser"]


class Phi4ToolParser(JsonToolParser):
    """A JSON list of calls behind a word."""

    begin = "functools"
    opening = "["
    separator = ","
    closing = "]"
    markers = (begin,)
    frame = CallFrame(
        begin=begin + opening,
        before_name='{"name": "',
        before_arguments='", "arguments": ',
        after_arguments="}",
        between=", ",
        end=closing,
    )


class Phi4(ModelFamily):
    """Tool parser of Phi-4 mini: a JSON list of calls behind the word functools."""

    tool_parser = Phi4ToolParser
    template_marks = (("functools",),)
