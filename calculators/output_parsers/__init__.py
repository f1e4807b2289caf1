"""Tool calls and reasoning in what models write: one file per family of models."""

from calculators.output_parsers.families import NO_PARSER, find_parser_problems
from calculators.output_parsers.output_format import OutputFormat
from calculators.output_parsers.output_parser import CallFrame
from calculators.output_parsers.parsed_output import ParsedDelta, ParsedOutput

__all__ = [
    "NO_PARSER",
    "CallFrame",
    "OutputFormat",
    "ParsedDelta",
    "ParsedOutput",
    "find_parser_problems",
]
