"""The node that finds tool calls and reasoning in generated text."""

import logging
from dataclasses import dataclass, replace
from typing import ClassVar

from calculators.output_parsers import (
    OUTPUT_FORMAT,
    OutputFormat,
    ParsedDelta,
    ParsedOutput,
    find_parser_problems,
)
from calculators.tags import PROMPT, TEXT
from calculators.text.tokenizer import TOKENIZER
from server.graph import Calculator, Contract, OpenContext, ProcessContext
from server.payloads import TextChunk, TokenizedPrompt

__all__ = ["OutputParserCalculator", "OutputParserCalculatorOptions"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OutputParserCalculatorOptions:
    """Names of parsers; "none" is no parser, "" is detected from the model's chat template."""

    PROTO_NAME: ClassVar[str] = "mediapipe.OutputParserCalculatorOptions"

    tool_parser: str = ""
    reasoning_parser: str = ""

    def __post_init__(self) -> None:
        problems = find_parser_problems(self.tool_parser, self.reasoning_parser)
        if problems:
            raise ValueError("; ".join(problems))


class OutputParserCalculator(Calculator[OutputParserCalculatorOptions]):
    """Splits TEXT into content, reasoning and tool calls, by the request that PROMPT carries.

    Its side packet OUTPUT_FORMAT tells the detokenizer which special tokens must stay in the text.
    """

    contract = Contract(
        inputs=(PROMPT, TEXT),
        outputs=(TEXT,),
        input_side_packets=(TOKENIZER,),
        output_side_packets=(OUTPUT_FORMAT,),
    )

    def open(self, cc: OpenContext) -> None:
        """Choose the parsers."""
        self._format = OutputFormat.choose(
            self.options.tool_parser,
            self.options.reasoning_parser,
            "\n".join(cc.side_packet(TOKENIZER).template_texts),
        )
        cc.set_side_packet(OUTPUT_FORMAT, self._format)
        logger.debug("Node %r: %s", cc.node_name, self._format)

    async def process(self, cc: ProcessContext) -> None:
        """Parse every choice of one request."""
        prompt = await cc.receive(PROMPT)
        num_choices = prompt.request.sampling.get("n", 1)
        choices = [_Choice(self._format, prompt) for _ in range(num_choices)]
        output = cc.output(TEXT)
        async for chunk in cc.input(TEXT):
            await output.send(choices[chunk.index].parse(chunk))


class _Choice:
    """One choice of a request on its way through the parsers."""

    __slots__ = ("_output", "_parser")

    def __init__(self, output_format: OutputFormat, prompt: TokenizedPrompt) -> None:
        self._output = ParsedOutput()
        self._parser = output_format.start(prompt, self._output)

    def parse(self, chunk: TextChunk) -> TextChunk:
        if self._parser is None:
            return chunk
        self._parser.feed(chunk.text)
        finish_reason = chunk.finish_reason
        if finish_reason is not None:
            self._parser.finish()
            self._output.finish()
            if finish_reason == "stop" and self._output.num_calls and not self._output.is_cut():
                finish_reason = "tool_calls"
        delta = self._output.take()
        if delta == ParsedDelta(chunk.text) and finish_reason == chunk.finish_reason:
            return chunk
        return replace(
            chunk,
            text=delta.content,
            reasoning=delta.reasoning,
            tool_calls=delta.tool_calls,
            finish_reason=finish_reason,
        )
