"""LFM2 and LFM2.5: <|tool_call_start|>[name(key="value")]<|tool_call_end|>, a list in Python.

https://docs.liquid.ai/lfm/key-concepts/tool-use
"""

from calculators.output_parsers.block_tool_parser import BlockToolParser, Call
from calculators.output_parsers.families.qwen3 import Qwen3ReasoningParser
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.python_calls import python_frame, read_python_calls

__all__ = ["Lfm2", "Lfm2ToolParser"]


class Lfm2ToolParser(BlockToolParser):
    """Reads Python calls with literal arguments, or JSON objects."""

    begin = "<|tool_call_start|>"
    end = "<|tool_call_end|>"
    markers = (begin, end)
    frame = python_frame(f"{begin}[", ", ", f"]{end}")

    def read_calls(self, text: str) -> list[Call]:
        """Read the calls; raises ValueError for any other text."""
        return read_python_calls(text)


class Lfm2(ModelFamily):
    """Tool and reasoning parser of LFM2 and LFM2.5: a list of Python calls, and <think> tags."""

    tool_parser = Lfm2ToolParser
    reasoning_parser = Qwen3ReasoningParser
    template_marks = (("<|tool_call_start|>",), ("<|tool_list_start|>",), ("keep_past_thinking",))
    reasoning_marks = ("<think>", "</think>")
