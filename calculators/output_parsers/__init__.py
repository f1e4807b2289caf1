"""Tool calls and reasoning in what models write: one file per family of models."""

from calculators.output_parsers.families import (
    GUIDED_TOOL_PARSERS,
    NO_PARSER,
    find_parser_problems,
)
from calculators.output_parsers.output_format import OutputFormat
from calculators.output_parsers.output_parser import CallFrame, ToolParser
from calculators.output_parsers.parsed_output import ParsedDelta, ParsedOutput
from calculators.output_parsers.tagged_reasoning import TaggedReasoningParser

__all__ = [
    "GUIDED_TOOL_PARSERS",
    "NO_PARSER",
    "CallFrame",
    "OutputFormat",
    "ParsedDelta",
    "ParsedOutput",
    "TaggedReasoningParser",
    "ToolParser",
    "find_parser_problems",
]
