"""Run a text through output parsers as a node does, cut in every way."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from calculators.output_parsers import NO_PARSER, OutputFormat, ParsedOutput
from calculators.output_parsers.output_parser import OutputParser
from server.payloads import GenerationRequest, TokenizedPrompt

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "exact": {"type": "boolean"},
                "places": {"type": "array", "items": {"type": "string"}},
            },
        },
    },
}


@dataclass
class Parsed:
    """The whole result; a call is its name and its arguments as text."""

    content: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)


def start(
    tool_parser: str = NO_PARSER,
    reasoning_parser: str = NO_PARSER,
    *,
    prompt: str = "",
    tools: tuple[Mapping[str, Any], ...] = (WEATHER_TOOL,),
) -> tuple[ParsedOutput, OutputParser]:
    """The parser of one choice, and its output."""
    request = GenerationRequest("request", messages=({"role": "user"},), tools=tools)
    output = ParsedOutput()
    output_format = OutputFormat.choose(tool_parser, reasoning_parser, "")
    parser = output_format.start(TokenizedPrompt(request, (1,), prompt), output)
    assert parser is not None
    return output, parser


def parse(
    pieces: Iterable[str],
    tool_parser: str = NO_PARSER,
    reasoning_parser: str = NO_PARSER,
    *,
    prompt: str = "",
    tools: tuple[Mapping[str, Any], ...] = (WEATHER_TOOL,),
) -> Parsed:
    """Parse a text that comes in these pieces."""
    output, parser = start(tool_parser, reasoning_parser, prompt=prompt, tools=tools)
    parsed = Parsed()
    for piece in pieces:
        parser.feed(piece)
        _collect(output, parsed)
    parser.finish()
    output.finish()
    _collect(output, parsed)
    return parsed


def _collect(output: ParsedOutput, parsed: Parsed) -> None:
    delta = output.take()
    parsed.content += delta.content
    parsed.reasoning += delta.reasoning
    for call in delta.tool_calls:
        if call.id is not None:
            assert call.index == len(parsed.calls)
            assert call.name is not None
            parsed.calls.append((call.name, ""))
        assert call.index == len(parsed.calls) - 1
        name, arguments = parsed.calls[-1]
        parsed.calls[-1] = (name, arguments + call.arguments)


def parse_all_ways(text: str, *parsers: str, **kwargs: Any) -> Parsed:
    """Parse a text in one piece, in two at every place, in single characters and at random.

    The same must come out of all.
    """
    whole = parse([text], *parsers, **kwargs)
    assert parse(text, *parsers, **kwargs) == whole
    for place in range(len(text) + 1):
        assert parse([text[:place], text[place:]], *parsers, **kwargs) == whole
    rng = random.Random(0)
    for _ in range(20):
        places = sorted(rng.choices(range(len(text) + 1), k=6))
        pieces = [text[i:j] for i, j in zip([0, *places], [*places, len(text)], strict=True)]
        assert parse(pieces, *parsers, **kwargs) == whole
    return whole
