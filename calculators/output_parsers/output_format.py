"""The parsers of one model, as the nodes of its graph share them."""

from dataclasses import dataclass

from calculators.output_parsers.output_parser import (
    OutputParser,
    PlainText,
    ReasoningParser,
    ToolParser,
)
from calculators.output_parsers.parsed_output import ParsedOutput
from calculators.output_parsers.registry import NO_PARSER, choose_parsers, families
from server.graph import Tag
from server.payloads import GenerationRequest, TokenizedPrompt

__all__ = ["OUTPUT_FORMAT", "OutputFormat"]


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """How a model writes tool calls and reasoning: the names of two families, or "none".

    Reasoning is parsed in every chat, tool calls in chats that have tools. The text of a
    completion is left as it is.
    """

    tool_parser_name: str = NO_PARSER
    reasoning_parser_name: str = NO_PARSER

    @classmethod
    def choose(cls, tool_parser: str, reasoning_parser: str, template: str) -> "OutputFormat":
        """Take families by name; "" is the one that the chat template belongs to."""
        return cls(*choose_parsers(tool_parser, reasoning_parser, template))

    def __str__(self) -> str:
        return f"tool_parser {self.tool_parser_name}, reasoning_parser {self.reasoning_parser_name}"

    @property
    def tool_parser(self) -> type[ToolParser] | None:
        """None where tool calls are not parsed."""
        family = families().get(self.tool_parser_name)
        return None if family is None else family.tool_parser

    @property
    def reasoning_parser(self) -> type[ReasoningParser] | None:
        """None where reasoning is not parsed."""
        family = families().get(self.reasoning_parser_name)
        return None if family is None else family.reasoning_parser

    def markers(self, request: GenerationRequest) -> frozenset[str]:
        """The texts that the parsers of this request need, even where they are special tokens."""
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


OUTPUT_FORMAT = Tag("OUTPUT_FORMAT", OutputFormat)
