"""Inputs of a request -> rows of tokens that the model can take."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from calculators.encoders.encoder_service import EncoderRow
from calculators.text.encoding_tokenizer import EncodingTokenizer
from server.errors import ContextLengthError, InvalidRequestError
from server.payloads import EmbeddingRequest

__all__ = ["InputRows", "TextRows"]

TokenIds = tuple[int, ...]

# Tokenizing this much blocks the event loop for about half a millisecond.
MAX_CHARACTERS_ON_EVENT_LOOP = 2_000
# Of inputs that are tokenized together; a longer text is alone.
MAX_INPUTS_AT_ONCE = 256
MAX_CHARACTERS_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class InputRows:
    """The rows of one input: one, or several chunks of it."""

    rows: Sequence[EncoderRow]

    @property
    def num_tokens(self) -> int:
        """The tokens of all rows."""
        return sum(map(len, self.rows))


class TextRows:
    """Tokenizes inputs, and cuts or splits those that are too long.

    `truncates` cuts too long inputs of requests that do not say what to do; `splits` makes chunks
    of them instead.
    """

    def __init__(
        self, tokenizer: EncodingTokenizer, max_length: int, *, truncates: bool, splits: bool
    ) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._truncates = truncates
        self._splits = splits

    async def make(self, request: EmbeddingRequest, prompt: str) -> list[InputRows]:
        """The rows of every input; `prompt` goes before texts. Raises InvalidRequestError.

        Long work is done in threads, in pieces, so that it ends soon after it is cancelled.
        """
        found: list[InputRows] = []
        for start, end, num_characters in _pieces(request.inputs, len(prompt)):
            work = partial(self._make_piece, request, prompt, start, end)
            is_small = num_characters <= MAX_CHARACTERS_ON_EVENT_LOOP
            is_whole = end - start == len(request.inputs)
            found += work() if is_small and is_whole else await asyncio.to_thread(work)
        return found

    def _make_piece(
        self, request: EmbeddingRequest, prompt: str, start: int, end: int
    ) -> list[InputRows]:
        sources = request.inputs[start:end]
        limit = self._limit(request)
        texts = [prompt + source for source in sources if isinstance(source, str)]
        # A long text is alone.
        if texts and len(sources) == 1:
            encoded = iter([self._encode(texts[0], limit, start, request)])
        else:
            encoded = iter(self._tokenizer.encode_many(texts, add_special_tokens=False))
        found = []
        for index, source in enumerate(sources, start):
            if isinstance(source, str):
                around = self._tokenizer.prefix, self._tokenizer.suffix
                rows = self._split(next(encoded), around, index, limit, request)
            elif prompt:
                problem = f"input[{index}] is token ids; a prompt can only be put before texts"
                raise InvalidRequestError(problem, "input")
            else:
                rows = self._split(source, ((), ()), index, limit, request)
            found.append(InputRows(list(rows)))
        return found

    def _encode(self, text: str, limit: int, index: int, request: EmbeddingRequest) -> TokenIds:
        """The tokens that are needed of a text, which may be long."""
        truncation = self._truncation(request)
        if truncation == "start":
            return self._tokenizer.encode_end(text, limit)
        if truncation == "end":
            return self._tokenizer.encode_start(text, limit)
        if truncation == "none":
            num_tokens = self._tokenizer.count_at_least(text, limit)
            if num_tokens > limit:
                raise _too_long(f"at least {num_tokens}", limit, index, len(request.inputs))
        (tokens,) = self._tokenizer.encode_many([text], add_special_tokens=False)
        return tokens

    def _split(
        self,
        tokens: TokenIds,
        around: tuple[TokenIds, TokenIds],
        index: int,
        limit: int,
        request: EmbeddingRequest,
    ) -> Iterator[EncoderRow]:
        prefix, suffix = around
        room = limit - len(prefix) - len(suffix)
        truncation = self._truncation(request)
        if len(tokens) <= room:
            pieces = [tokens]
        elif truncation == "none" or room <= 0:
            length = len(tokens) + len(prefix) + len(suffix)
            raise _too_long(length, limit, index, len(request.inputs))
        elif truncation == "split":
            pieces = [tokens[i : i + room] for i in range(0, len(tokens), room)]
        else:
            pieces = [tokens[-room:] if truncation == "start" else tokens[:room]]
        for piece in pieces:
            yield EncoderRow((*prefix, *piece, *suffix), of_tokens=request.of_tokens)

    def _limit(self, request: EmbeddingRequest) -> int:
        wanted = request.max_tokens
        if wanted is None or wanted == -1:
            return self._max_length
        if not 1 <= wanted <= self._max_length:
            raise InvalidRequestError(
                f"truncate_prompt_tokens is {wanted}; possible: 1 to {self._max_length}, or -1 for "
                f"{self._max_length}",
                "truncate_prompt_tokens",
            )
        return wanted

    def _truncation(self, request: EmbeddingRequest) -> str:
        if request.truncation is not None:
            return request.truncation
        if request.max_tokens is not None:
            return "end"
        if self._splits and not request.of_tokens:
            return "split"
        return "end" if self._truncates else "none"


def _too_long(length: int | str, limit: int, index: int, num_inputs: int) -> ContextLengthError:
    where = f"input[{index}]: " if num_inputs > 1 else ""
    return ContextLengthError(f"{where}Input length {length} longer than allowed {limit}", "input")


def _pieces(inputs: Sequence[str | TokenIds], prompt_length: int) -> Iterator[tuple[int, int, int]]:
    """Start and end of the inputs that are tokenized together, and their characters."""
    start = num_characters = 0
    for index, source in enumerate(inputs):
        length = len(source) + prompt_length
        is_full = num_characters + length > MAX_CHARACTERS_AT_ONCE
        if start < index and (is_full or index - start == MAX_INPUTS_AT_ONCE):
            yield start, index, num_characters
            start, num_characters = index, 0
        num_characters += length
    if inputs:
        yield start, len(inputs), num_characters
