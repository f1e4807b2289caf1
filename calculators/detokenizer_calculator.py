"""The node that turns generated tokens into text."""

from calculators.byte_table import ByteTable
from calculators.choice_decoder import ChoiceDecoder
from calculators.output_parsers import OutputFormat
from calculators.stop_strings import StopStringMatcher, make_matcher
from calculators.tokenizer import Tokenizer
from server.graph import Calculator, Contract, OpenContext, ProcessContext, Tag
from server.payloads import GenerationRequest, TextChunk, TokenChunk, TokenizedPrompt

__all__ = ["DetokenizerCalculator"]

TOKENS = Tag("TOKENS", TokenChunk)
TEXT = Tag("TEXT", TextChunk)
TOKENIZER = Tag("TOKENIZER", Tokenizer)
OUTPUT_FORMAT = Tag("OUTPUT_FORMAT", OutputFormat, optional=True)


class DetokenizerCalculator(Calculator):
    """Turns TOKENS into TEXT: whole characters only, ended by the request's stop strings.

    A choice whose stop string is found is stopped in the executor; when every choice of the
    request is finished, the stream of tokens is closed. Special tokens add nothing to the text,
    but for those that the parsers of the side packet OUTPUT_FORMAT look for.
    """

    contract = Contract(
        inputs=(TOKENS,), outputs=(TEXT,), input_side_packets=(TOKENIZER, OUTPUT_FORMAT)
    )

    def open(self, cc: OpenContext) -> None:
        """Take the tokenizer's byte table."""
        self._table = cc.side_packet(TOKENIZER).byte_table
        self._format = OutputFormat()
        if cc.has_side_packet(OUTPUT_FORMAT):
            self._format = cc.side_packet(OUTPUT_FORMAT)
        # There are few different sets of markers: with tools or without, with reasoning or not.
        self._tables: dict[frozenset[str], ByteTable] = {}

    async def process(self, cc: ProcessContext) -> None:
        """Decode every choice of one request."""
        output = cc.output(TEXT)
        choices: list[ChoiceDecoder] = []
        num_unfinished = 0
        async for chunk in cc.input(TOKENS):
            if not choices:
                choices = self._start_choices(chunk.prompt)
                num_unfinished = len(choices)
            choice = choices[chunk.index]
            # Tokens can be on their way already when their choice is stopped.
            text = None if choice.is_finished else choice.feed(chunk)
            if text is None:
                continue
            if choice.is_finished:
                num_unfinished -= 1
                if chunk.finish_reason is None:
                    chunk.stop_choice()
            await output.send(text)
            if num_unfinished == 0:
                return

    def _start_choices(self, prompt: TokenizedPrompt) -> list[ChoiceDecoder]:
        request = prompt.request
        matcher: StopStringMatcher | None = make_matcher(request.stop) if request.stop else None
        echo: str | None = None
        if request.echo:
            echo = self._table.decode(prompt.token_ids) if prompt.text is None else prompt.text
        num_choices = request.sampling.get("n", 1)
        table = self._table_for(request)
        return [ChoiceDecoder(table, matcher, echo) for _ in range(num_choices)]

    def _table_for(self, request: GenerationRequest) -> ByteTable:
        markers = self._format.markers(request)
        if markers not in self._tables:
            self._tables[markers] = self._table.showing(markers)
        return self._tables[markers]
