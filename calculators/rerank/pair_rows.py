"""Pairs of a query and a document -> rows of tokens that fit the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from calculators.encoders.encoder_service import EncoderRow
from calculators.rerank.rerank_template import RerankTemplate
from calculators.rerank.token_template import TokenTemplate
from server.errors import ContextLengthError, InvalidRequestError
from server.payloads import RerankRequest

__all__ = ["PairEncoder", "RowPlan"]

# Of all texts of a request together: they are in memory as tokens before they are counted.
MAX_CHARACTERS = 64_000_000

Encode = Callable[[str], Sequence[int]]
"""Token ids of a text, without the special tokens around it."""


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

    encode: Encode
    template: TokenTemplate
    prompt: RerankTemplate | None
    max_length: int
    max_chunks: int

    def plan(self, request: RerankRequest) -> RowPlan:
        """Make the rows. Raises InvalidRequestError in Model Server's words."""
        self._check(request)
        # Most requests repeat one query.
        encode_query = lru_cache(maxsize=16)(self.encode)
        plan = RowPlan([], [])
        num_chunks = 0
        for index, (query, document) in enumerate(request.pairs):
            if self.prompt is not None:
                rows = [self._prompt_row(self.prompt, query, document, request)]
            else:
                tokens = self.encode(document)[: request.max_tokens_per_doc]
                rows = self._pair_rows(encode_query(query), tokens, request)
            num_chunks += len(rows)
            # What is too much is counted and not kept.
            if num_chunks <= self.max_chunks:
                plan.rows.extend(rows)
                plan.owners.extend([index] * len(rows))
        if num_chunks > self.max_chunks:
            raise InvalidRequestError(
                "Chunking failed: exceeding max_allowed_chunks after chunking limit: "
                f"{self.max_chunks}; actual: {num_chunks}",
                "documents",
            )
        return plan

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
        self, prompt: RerankTemplate, query: str, document: str, request: RerankRequest
    ) -> EncoderRow:
        tokens = self.encode(prompt.render(query, document, request.instruction))
        limit, of_document = self._limit(request), request.max_tokens_per_doc
        if of_document is not None or (limit is not None and len(tokens) > limit):
            before, after = prompt.around(query, request.instruction)
            end = self.encode(after)
            room = [] if limit is None else [limit - len(end)]
            if of_document is not None:
                room.append(len(self.encode(before)) + of_document)
            head = self.encode(before + document)
            if len(head) > min(room):
                tokens = [*head[: max(min(room), 0)], *end]
        if len(tokens) > self.max_length:
            raise ContextLengthError(
                f"The requests length of {len(tokens)} tokens exceeds the model context of "
                f"{self.max_length}",
                "documents",
            )
        return EncoderRow(tokens)


def cut_longest(num_first: int, num_second: int, limit: int) -> tuple[int, int]:
    """How much of two texts is kept, as transformers' truncation "longest_first" has it."""
    limit = max(limit, 0)
    if num_first + num_second <= limit:
        return num_first, num_second
    shorter = min(num_first, num_second)
    kept = min(shorter, limit // 2)
    # The longer one gets what the shorter one leaves.
    return (kept, limit - kept) if num_first <= num_second else (limit - kept, kept)
