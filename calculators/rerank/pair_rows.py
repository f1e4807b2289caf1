"""Pairs of a query and a document -> rows of tokens that fit the model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from calculators.encoders.encoder_service import EncoderRow
from calculators.rerank.rerank_template import RerankTemplate
from calculators.rerank.token_template import TokenTemplate
from calculators.text.text_encoder import texts_at_once
from server.errors import ContextLengthError, InvalidRequestError
from server.payloads import RerankRequest

__all__ = ["MAX_CHARACTERS", "EncodeMany", "PairEncoder", "RowPlan"]

# Of all texts of a request together: they are in memory as tokens before they are counted.
MAX_CHARACTERS = 64_000_000

TEXTS_AT_ONCE = 256


class EncodeMany(Protocol):
    """A tokenizer that adds no special tokens."""

    def __call__(
        self, texts: Sequence[str], *, first: int | None = None
    ) -> Sequence[Sequence[int]]:
        """The token ids of each text; if only the `first` are needed, others may be left out."""


@dataclass(frozen=True, slots=True)
class RowPlan:
    """The rows to run, and for each the index of its pair; the best row of a pair counts."""

    rows: list[EncoderRow]
    owners: list[int]


@dataclass(frozen=True)
class PairEncoder:
    """Makes the rows of requests.

    A model with a `prompt` gets the rendered text. Others get query and document inside `template`;
    of a document that is too long, each chunk is a row of its own. `max_length` is the most tokens
    of a row, special tokens included, and `max_chunks` the most rows of a request.
    """

    encode_many: EncodeMany
    template: TokenTemplate
    prompt: RerankTemplate | None
    max_length: int
    max_chunks: int

    def plan(self, request: RerankRequest) -> RowPlan:
        """Make the rows. Raises InvalidRequestError in Model Server's words."""
        self._check(request)
        plan = RowPlan([], [])
        num_chunks = 0
        for index, rows in enumerate(self._rows_of_pairs(request)):
            num_chunks += len(rows)
            if num_chunks > self.max_chunks:
                bound = "" if index + 1 == len(request.pairs) else "at least "
                raise InvalidRequestError(
                    "Chunking failed: exceeding max_allowed_chunks after chunking limit: "
                    f"{self.max_chunks}; actual: {bound}{num_chunks}",
                    "documents",
                )
            plan.rows.extend(rows)
            plan.owners.extend([index] * len(rows))
        return plan

    def _rows_of_pairs(self, request: RerankRequest) -> Iterator[list[EncoderRow]]:
        # Most requests repeat one query.
        encode_query = lru_cache(maxsize=16)(self._encode)
        needed = [n for n in (request.max_tokens_per_doc, self._limit(request)) if n is not None]
        first = min(needed, default=None)
        for pairs in _at_once(request.pairs):
            if self.prompt is None:
                documents = self.encode_many([document for _, document in pairs], first=first)
                for (query, _), tokens in zip(pairs, documents, strict=True):
                    document = tokens[: request.max_tokens_per_doc]
                    yield self._pair_rows(encode_query(query, self.max_length), document, request)
            else:
                texts = self.prompt.render(pairs, request.instruction)
                for pair, tokens in zip(pairs, self.encode_many(texts), strict=True):
                    yield [self._prompt_row(self.prompt, pair, tokens, request)]

    def _encode(self, text: str, first: int | None = None) -> Sequence[int]:
        return self.encode_many([text], first=first)[0]

    def _check(self, request: RerankRequest) -> None:
        num_pairs = len(request.pairs)
        if num_pairs > self.max_chunks:
            raise InvalidRequestError(
                f"Number of documents exceeds max_allowed_chunks: there are {num_pairs}, and at "
                f"most {self.max_chunks} are possible",
                "documents",
            )
        num_characters = sum(len(query) + len(document) for query, document in request.pairs)
        if num_characters > MAX_CHARACTERS:
            raise InvalidRequestError(
                f"query and documents have {num_characters} characters, the query counted for each "
                f"document; at most {MAX_CHARACTERS} are possible",
                "documents",
            )
        if request.instruction is not None and self.prompt is None:
            raise InvalidRequestError(
                "instruction: this model has no template that shows one", "instruction"
            )

    def _limit(self, request: RerankRequest) -> int | None:
        """How many tokens a row is cut to; None where it is not cut."""
        limit = request.truncate_prompt_tokens
        if limit is None:
            return None
        return self.max_length if limit == -1 else min(limit, self.max_length)

    def _pair_rows(
        self, query: Sequence[int], document: Sequence[int], request: RerankRequest
    ) -> list[EncoderRow]:
        limit = self._limit(request)
        if limit is not None:
            sizes = cut_longest(len(query), len(document), limit - self.template.num_special)
            return [self.template.fill(query[: sizes[0]], document[: sizes[1]])]
        query = query[: self.max_length // 2]
        size = self.max_length - len(query) - self.template.num_special
        if size <= 0:
            raise InvalidRequestError("Chunking failed: no space left for chunks", "query")
        starts = range(0, max(len(document), 1), size)[: request.max_chunks_per_doc]
        return [self.template.fill(query, document[start : start + size]) for start in starts]

    def _prompt_row(
        self,
        prompt: RerankTemplate,
        pair: tuple[str, str],
        tokens: Sequence[int],
        request: RerankRequest,
    ) -> EncoderRow:
        limit, of_document = self._limit(request), request.max_tokens_per_doc
        if of_document is not None or (limit is not None and len(tokens) > limit):
            query, document = pair
            before, after = prompt.around(query, request.instruction)
            end = self._encode(after)
            room = [] if limit is None else [limit - len(end)]
            if of_document is not None:
                room.append(len(self._encode(before)) + of_document)
            head = self._encode(before + document, max(min(room), 0))
            if len(head) > min(room):
                tokens = [*head[: max(min(room), 0)], *end]
        if len(tokens) > self.max_length:
            raise ContextLengthError(
                f"The requests length of {len(tokens)} tokens exceeds the model context of "
                f"{self.max_length}",
                "documents",
            )
        return EncoderRow(tokens)


def _at_once(pairs: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    """Pairs whose documents are in memory as tokens together."""
    start = 0
    for begin in range(0, len(pairs), TEXTS_AT_ONCE):
        some = pairs[begin : begin + TEXTS_AT_ONCE]
        for texts in texts_at_once([document for _, document in some]):
            yield pairs[start : start + len(texts)]
            start += len(texts)


def cut_longest(num_first: int, num_second: int, limit: int) -> tuple[int, int]:
    """How much of two texts is kept, as transformers' truncation "longest_first" has it."""
    limit = max(limit, 0)
    if num_first + num_second <= limit:
        return num_first, num_second
    shorter = min(num_first, num_second)
    kept = min(shorter, limit // 2)
    # The longer one gets what the shorter one leaves.
    return (kept, limit - kept) if num_first <= num_second else (limit - kept, kept)
