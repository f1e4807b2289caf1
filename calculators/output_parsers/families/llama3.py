"""Llama 3.1 to 3.3: <|python_tag|>{"name": ..., "parameters": {...}}; {...}, often without the tag.

https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/
"""

from calculators.output_parsers.json_tool_parser import JsonToolParser
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.output_parser import CallFrame

__all__ = ["Llama3", "Llama3ToolParser"]


class Llama3ToolParser(JsonToolParser):
    """Calls behind the tag or at the beginning of the text."""

    begin = "<|python_tag|>"
    can_be_bare = True
    markers = (begin,)
    frame = CallFrame(
        begin=begin,
        before_name='{"name": "',
        before_arguments='", "parameters": ',
        after_arguments="}",
        between="; ",
    )


class Llama3(ModelFamily):
    """Tool parser of Llama 3.1 to 3.3: JSON behind <|python_tag|>, often without the tag."""

    tool_parser = Llama3ToolParser
    template_marks = (("<|python_tag|>",), ("<|start_header_id|>ipython",))
    aliases = ("llama3_json", "llama4_json")
