"""The parsers by name, and which of them a chat template speaks for."""

from collections.abc import Mapping

from calculators.output_parsers.hermes3 import Hermes3ToolParser
from calculators.output_parsers.output_parser import ReasoningParser, ToolParser
from calculators.output_parsers.qwen3 import Qwen3ReasoningParser
from server.errors import did_you_mean

__all__ = [
    "NO_PARSER",
    "REASONING_PARSERS",
    "TOOL_PARSERS",
    "detect_reasoning_parser",
    "detect_tool_parser",
    "find_parser_problems",
]

NO_PARSER = "none"

TOOL_PARSERS: Mapping[str, type[ToolParser]] = {
    "hermes3": Hermes3ToolParser,
}
REASONING_PARSERS: Mapping[str, type[ReasoningParser]] = {
    "qwen3": Qwen3ReasoningParser,
}


def find_parser_problems(tool_parser: str, reasoning_parser: str) -> list[str]:
    """What is wrong with the names of two parsers; "" leaves the choice to the chat template."""
    problems = []
    for option, name, known in (
        ("tool_parser", tool_parser, TOOL_PARSERS),
        ("reasoning_parser", reasoning_parser, REASONING_PARSERS),
    ):
        if name not in ("", NO_PARSER, *known):
            possible = ", ".join([*sorted(known), NO_PARSER])
            hint = did_you_mean(name, [*known, NO_PARSER])
            problems.append(f"{option} is {name!r}{hint}; possible: {possible}")
    return problems


def detect_tool_parser(template: str) -> str:
    """The name of the tool parser for a model with this chat template."""
    if "<tool_call>" in template:
        return "hermes3"
    return NO_PARSER


def detect_reasoning_parser(template: str) -> str:
    """The name of the reasoning parser for a model with this chat template."""
    if "<think>" in template:
        return "qwen3"
    return NO_PARSER
