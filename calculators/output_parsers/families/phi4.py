"""Phi-4 mini: functools[{"name": ..., "arguments": {...}}, {...}]."""

from calculators.output_parsers.json_tool_parser import JsonToolParser
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.output_parser import CallFrame

__all__ = ["Phi4", "Phi4ToolParser"]


class Phi4ToolParser(JsonToolParser):
    """A JSON list of calls behind a word, or in the tags of the chat template."""

    begin = "functools"
    other_tags = (("<|tool_call|>", "<|/tool_call|>"),)
    markers = (begin, *other_tags[0])
    frame = CallFrame(
        begin=f"{begin}[",
        before_name='{"name": "',
        before_arguments='", "arguments": ',
        after_arguments="}",
        between=", ",
        end="]",
    )


class Phi4(ModelFamily):
    """Tool parser of Phi-4 mini: a JSON list of calls behind the word functools."""

    tool_parser = Phi4ToolParser
    template_marks = (("functools",),)
    aliases = ("phi4_mini_json",)
