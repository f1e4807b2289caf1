"""Texts to classify -> rows of tokens that fit the model."""

from collections.abc import Sequence
from dataclasses import dataclass

from calculators.encoders.encoder_service import EncoderRow
from calculators.rerank.pair_rows import MAX_CHARACTERS, Encode
from calculators.rerank.token_template import TokenTemplate
from server.errors import ContextLengthError, InvalidRequestError
from server.payloads import ClassifyRequest

__all__ = ["TextRowEncoder"]


@dataclass(frozen=True)
class TextRowEncoder:
    """Makes a row of each input. `max_length` is the most tokens of a row, `max_rows` the most
    rows of a request.
    """

    encode: Encode
    template: TokenTemplate
    max_length: int
    max_rows: int

    def rows(self, request: ClassifyRequest) -> list[EncoderRow]:
        """Make the rows. Raises InvalidRequestError."""
        if len(request.inputs) > self.max_rows:
            raise InvalidRequestError(
                f"input has {len(request.inputs)} texts; at most {self.max_rows} are possible",
                "input",
            )
        num_characters = sum(map(len, request.inputs))
        if num_characters > MAX_CHARACTERS:
            raise InvalidRequestError(
                f"input has {num_characters} characters; at most {MAX_CHARACTERS} are possible",
                "input",
            )
        return [self._row(text, request, i) for i, text in enumerate(request.inputs)]

    def _row(self, text: str | tuple[int, ...], request: ClassifyRequest, index: int) -> EncoderRow:
        limit = self.max_length
        if request.truncate_prompt_tokens not in (None, -1):
            limit = min(limit, request.truncate_prompt_tokens or 0)
        row = self._fill(text, request, None)
        if len(row) > limit and request.truncate_prompt_tokens is not None:
            row = self._fill(text, request, limit)
        if len(row) > limit:
            raise ContextLengthError(
                f"Input length {len(row)} longer than allowed {limit}: input {index} has that many "
                "tokens; truncate_prompt_tokens cuts it",
                "input",
            )
        if not len(row):
            raise InvalidRequestError(f"input {index} has no tokens", "input")
        return row

    def _fill(
        self, text: str | tuple[int, ...], request: ClassifyRequest, limit: int | None
    ) -> EncoderRow:
        tokens: Sequence[int] = text if isinstance(text, tuple) else self.encode(text)
        if isinstance(text, tuple) or not request.add_special_tokens:
            return EncoderRow(tokens[:limit])
        if limit is not None:
            limit = max(limit - self.template.num_special, 0)
        return self.template.fill(tokens[:limit])
