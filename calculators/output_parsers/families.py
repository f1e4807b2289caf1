"""The parsers by name, and which of them a chat template speaks for."""

from collections.abc import Mapping

from calculators.output_parsers.devstral import DevstralToolParser
from calculators.output_parsers.gemma4 import Gemma4ReasoningParser, Gemma4ToolParser
from calculators.output_parsers.gptoss import GptOssReasoningParser, GptOssToolParser
from calculators.output_parsers.hermes3 import Hermes3ToolParser
from calculators.output_parsers.lfm2 import Lfm2ReasoningParser, Lfm2ToolParser
from calculators.output_parsers.llama3 import Llama3ToolParser
from calculators.output_parsers.mistral import MistralToolParser
from calculators.output_parsers.output_parser import ReasoningParser, ToolParser
from calculators.output_parsers.phi4 import Phi4ToolParser
from calculators.output_parsers.qwen3 import Qwen3ReasoningParser
from calculators.output_parsers.qwen3coder import Qwen3CoderToolParser
from server.errors import did_you_mean

__all__ = [
    "GUIDED_TOOL_PARSERS",
    "NO_PARSER",
    "REASONING_PARSERS",
    "TOOL_PARSERS",
    "choose_parsers",
    "find_parser_problems",
]

NO_PARSER = "none"

TOOL_PARSERS: Mapping[str, type[ToolParser]] = {
    "devstral": DevstralToolParser,
    "gemma4": Gemma4ToolParser,
    "gptoss": GptOssToolParser,
    "hermes3": Hermes3ToolParser,
    "lfm2": Lfm2ToolParser,
    "llama3": Llama3ToolParser,
    "mistral": MistralToolParser,
    "phi4": Phi4ToolParser,
    "qwen3coder": Qwen3CoderToolParser,
}
# Those in whose form calls can be written by a grammar.
GUIDED_TOOL_PARSERS = tuple(name for name, parser in TOOL_PARSERS.items() if parser.frame)
REASONING_PARSERS: Mapping[str, type[ReasoningParser]] = {
    "gemma4": Gemma4ReasoningParser,
    "gptoss": GptOssReasoningParser,
    "lfm2": Lfm2ReasoningParser,
    "qwen3": Qwen3ReasoningParser,
}

# The family whose messages say in one head what is reasoning and what is a call.
INSEPARABLE = "gptoss"

# What only templates of one family have: the first line of which all texts are in a template
# wins. Families without a parser here are listed so that they are not taken for another.
_TOOL_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("gptoss", ("<|channel|>",)),
    (NO_PARSER, ("<|start|>", "<|message|>", "<|eom|>", "<|eot|>")),
    ("gemma4", ("<|tool_call>call:",)),
    ("qwen3coder", ("<parameter=", "<function=")),
    (NO_PARSER, ('<param name="',)),
    ("lfm2", ("<|tool_call_start|>",)),
    ("lfm2", ("keep_past_thinking",)),
    ("phi4", ("functools",)),
    ("devstral", ("[TOOL_CALLS]", "[ARGS]")),
    ("mistral", ("[TOOL_CALLS]",)),
    ("llama3", ("<|python_tag|>",)),
    ("llama3", ("<|start_header_id|>ipython",)),
    ("hermes3", ("<tool_call>",)),
)
_OWN_REASONING = ("gptoss", "gemma4")


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
    names = {tool_parser, reasoning_parser}
    if INSEPARABLE in names and not names <= {INSEPARABLE, ""}:
        problems.append(
            f"tool_parser is {tool_parser!r} and reasoning_parser is {reasoning_parser!r}; "
            f"{INSEPARABLE!r} is possible for both or for neither"
        )
    return problems


def choose_parsers(tool_parser: str, reasoning_parser: str, template: str) -> tuple[str, str]:
    """Replace "" by the name of the parser that the chat template speaks for, or "none"."""
    if INSEPARABLE in (tool_parser, reasoning_parser):
        return INSEPARABLE, INSEPARABLE
    family = _find_family(template)
    if family == INSEPARABLE and (tool_parser or reasoning_parser):
        family = NO_PARSER
    return tool_parser or family, reasoning_parser or _find_reasoning(family, template)


def _find_family(template: str) -> str:
    for name, signs in _TOOL_SIGNS:
        if all(sign in template for sign in signs):
            return name
    return NO_PARSER


def _find_reasoning(family: str, template: str) -> str:
    if family in _OWN_REASONING:
        return family
    if "<think>" in template or "</think>" in template:
        return "lfm2" if family == "lfm2" else "qwen3"
    return NO_PARSER
