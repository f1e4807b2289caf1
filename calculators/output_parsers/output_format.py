"""The parsers of one model, as the nodes of its graph share them."""

from collections.abc import Mapping
from dataclasses import dataclass

from calculators.output_parsers.families import (
    NO_PARSER,
    REASONING_PARSERS,
    TOOL_PARSERS,
    choose_parsers,
)
from calculators.output_parsers.output_parser import (
    OutputParser,
    PlainText,
    ReasoningParser,
    ToolParser,
)
from calculators.output_parsers.parsed_output import ParsedOutput
from server.payloads import GenerationRequest, TokenizedPrompt

__all__ = ["OutputFormat"]


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """In which form a model writes its tool calls and its reasoning; None is in no form.

    Reasoning is looked for in every chat, tool calls in those that have tools. The text of a
    completion is left as it is.
    """

    tool_parser: type[ToolParser] | None = None
    reasoning_parser: type[ReasoningParser] | None = None

    @classmethod
    def choose(cls, tool_parser: str, reasoning_parser: str, template: str) -> "OutputFormat":
        """Take parsers by name; "" is the one that the chat template speaks for."""
        tool_parser, reasoning_parser = choose_parsers(tool_parser, reasoning_parser, template)
        return cls(
            None if tool_parser == NO_PARSER else TOOL_PARSERS[tool_parser],
            None if reasoning_parser == NO_PARSER else REASONING_PARSERS[reasoning_parser],
        )

    def __str__(self) -> str:
        tools = _find_name(self.tool_parser, TOOL_PARSERS)
        reasoning = _find_name(self.reasoning_parser, REASONING_PARSERS)
        return f"tool_parser {tools}, reasoning_parser {reasoning}"

    def markers(self, request: GenerationRequest) -> frozenset[str]:
        """What must stay in the text of this request for its parsers, special token or not."""
        parsers = (self._tool_parser(request), self._reasoning_parser(request))
        return frozenset(
            marker for parser in parsers if parser is not None for marker in parser.markers
        )

    def start(self, prompt: TokenizedPrompt, output: ParsedOutput) -> OutputParser | None:
        """Make the parser of one choice of a request; None where the text is left as it is."""
        request = prompt.request
        tool_parser, reasoning_parser = self._tool_parser(request), self._reasoning_parser(request)
        parser: OutputParser | None = None
        if tool_parser is not None:
            parser = tool_parser(output, request.tools)
        if reasoning_parser is not None:
            parser = reasoning_parser(output, parser or PlainText(output), prompt.text or "")
        return parser

    def _tool_parser(self, request: GenerationRequest) -> type[ToolParser] | None:
        return self.tool_parser if request.messages is not None and request.tools else None

    def _reasoning_parser(self, request: GenerationRequest) -> type[ReasoningParser] | None:
        return self.reasoning_parser if request.messages is not None else None


def _find_name(parser: type | None, names: Mapping[str, type]) -> str:
    return next((name for name, known in names.items() if known is parser), NO_PARSER)
