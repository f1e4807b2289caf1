"""The node that turns generated tokens into text."""

from collections.abc import Iterable

from calculators.llm.best_of import BestOf
from calculators.output_parsers import OUTPUT_FORMAT, OutputFormat
from calculators.tags import TEXT, TOKENS
from calculators.text.byte_table import ByteTable
from calculators.text.choice_decoder import ChoiceDecoder
from calculators.text.stop_strings import make_matcher
from calculators.text.token_logprobs import DescribedPrompt
from calculators.text.tokenizer import TOKENIZER
from server.graph import Calculator, Contract, OpenContext, ProcessContext
from server.payloads import GenerationRequest, TextChunk, TokenChunk

__all__ = ["DetokenizerCalculator"]


class DetokenizerCalculator(Calculator):
    """Turns TOKENS into TEXT: whole characters only, ended by the request's stop strings.

    A stop string ends its choice in the executor, too. When every choice of the request is
    finished, the stream of tokens is closed. Special tokens do not appear in the text, unless the
    parsers of the side packet OUTPUT_FORMAT need them or the request asks for them. With `best_of`
    the text comes when all choices are finished.
    """

    contract = Contract(
        inputs=(TOKENS,),
        outputs=(TEXT,),
        input_side_packets=(TOKENIZER, OUTPUT_FORMAT.as_optional()),
    )

    def open(self, cc: OpenContext) -> None:
        """Take the tokenizer's byte table."""
        self._table = cc.side_packet(TOKENIZER).byte_table
        names = [raw.decode("utf-8", "replace") for raw in self._table.special_bytes.values()]
        self._special_names = frozenset(names)
        self._format = OutputFormat()
        if cc.has_side_packet(OUTPUT_FORMAT):
            self._format = cc.side_packet(OUTPUT_FORMAT)
        # There are few different sets of markers: with tools or without, with reasoning or not.
        self._tables: dict[frozenset[str], ByteTable] = {}

    async def process(self, cc: ProcessContext) -> None:
        """Decode every choice of one request."""
        output = cc.output(TEXT)
        answer: _Answer | None = None
        async for chunk in cc.input(TOKENS):
            if answer is None:
                answer = _Answer(chunk, self._table_for(chunk.prompt.request))
            for text in answer.feed(chunk):
                await output.send(text)
            if answer.is_finished:
                return

    def _table_for(self, request: GenerationRequest) -> ByteTable:
        if request.skip_special_tokens:
            markers = self._format.markers(request)
        else:
            markers = self._special_names
        if markers not in self._tables:
            self._tables[markers] = self._table.showing(markers)
        return self._tables[markers]


class _Answer:
    """The choices of one request; its first chunk of tokens says how many."""

    def __init__(self, first: TokenChunk, table: ByteTable) -> None:
        request, prompt = first.prompt.request, first.prompt
        num_wanted = request.sampling.get("n", 1)
        num_choices = num_wanted if first.num_choices is None else first.num_choices
        self._table = table
        self._prompt_text = ""
        if request.echo or first.prompt_logprobs is not None:
            text = prompt.text
            self._prompt_text = table.decode(prompt.token_ids) if text is None else text
        self._choices = [
            ChoiceDecoder(
                table,
                make_matcher(request.stop) if request.stop else None,
                echo=self._prompt_text if request.echo else None,
                includes_stop=request.include_stop_str_in_output,
                min_tokens=request.sampling.get("min_tokens", 0),
            )
            for _ in range(num_choices)
        ]
        self._num_unfinished = num_choices
        self._best_of: BestOf | None = None
        if num_choices > num_wanted:
            self._best_of = BestOf(num_wanted, "logprobs" in request.sampling)

    @property
    def is_finished(self) -> bool:
        """Whether every choice is finished."""
        return self._num_unfinished == 0

    def feed(self, chunk: TokenChunk) -> Iterable[TextChunk]:
        """Return the text that a chunk of tokens completes."""
        choice = self._choices[chunk.index]
        if chunk.prompt_logprobs is not None:
            prompt = chunk.prompt.token_ids
            choice.prompt_logprobs = DescribedPrompt(
                self._table, prompt, chunk.prompt_logprobs, self._prompt_text
            )
        # Tokens of a choice can still arrive after it was stopped.
        text = None if choice.is_finished else choice.feed(chunk)
        if text is None:
            return ()
        if choice.is_finished:
            self._num_unfinished -= 1
            if chunk.finish_reason is None:
                chunk.stop_choice()
        if self._best_of is None:
            return (text,)
        self._best_of.add(text)
        return self._best_of.take() if self.is_finished else ()
