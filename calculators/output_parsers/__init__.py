"""Tool calls and reasoning in what models write: the families of models, and what reads them.

For the calculators, `export_models`, and plug-ins that add a family: subclass ModelFamily.
"""

from calculators.output_parsers.block_tool_parser import BlockToolParser, Call
from calculators.output_parsers.json_tool_parser import JsonToolParser
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.named_tool_parser import CallForm, NamedToolParser
from calculators.output_parsers.output_format import OUTPUT_FORMAT, OutputFormat
from calculators.output_parsers.output_parser import (
    ArgumentFrame,
    CallFrame,
    MessageFrame,
    ReasoningParser,
    ThinkingForm,
    ToolParser,
)
from calculators.output_parsers.parsed_output import ParsedDelta, ParsedOutput
from calculators.output_parsers.registry import (
    NO_PARSER,
    find_parser_problems,
    guided_tool_parsers,
    parser_names,
)
from calculators.output_parsers.tagged_reasoning import TaggedReasoningParser
from calculators.output_parsers.tagged_value_parser import TaggedValueParser
from calculators.output_parsers.value_tags import ValueTags
from calculators.output_parsers.value_types import ParameterTypes

__all__ = [
    "NO_PARSER",
    "OUTPUT_FORMAT",
    "ArgumentFrame",
    "BlockToolParser",
    "Call",
    "CallForm",
    "CallFrame",
    "JsonToolParser",
    "MessageFrame",
    "ModelFamily",
    "NamedToolParser",
    "OutputFormat",
    "ParameterTypes",
    "ParsedDelta",
    "ParsedOutput",
    "ReasoningParser",
    "TaggedReasoningParser",
    "TaggedValueParser",
    "ThinkingForm",
    "ToolParser",
    "ValueTags",
    "find_parser_problems",
    "guided_tool_parsers",
    "parser_names",
]
