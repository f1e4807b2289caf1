"""Texts to classify -> rows of tokens that fit the model."""

from collections.abc import Sequence
from dataclasses import dataclass

from calculators.encoders.encoder_service import EncoderRow
from calculators.rerank.pair_rows import MAX_CHARACTERS, EncodeMany
from calculators.rerank.token_template import PLAIN, TokenTemplate
from calculators.text.text_encoder import texts_at_once
from server.errors import ContextLengthError, InvalidRequestError
from server.payloads import ClassifyRequest

__all__ = ["TextRowEncoder"]


@dataclass(frozen=True)
class TextRowEncoder:
    """Makes a row of each input. `max_length` is the most tokens of a row, `max_rows` the most
    rows of a request.
    """

    encode_many: EncodeMany
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
        texts = [text for text in request.inputs if isinstance(text, str)]
        first = None if request.truncate_prompt_tokens is None else self.max_length
        encoded = (
            ids for some in texts_at_once(texts) for ids in self.encode_many(some, first=first)
        )
        return [
            self._row(next(encoded) if isinstance(text, str) else text, request, index)
            for index, text in enumerate(request.inputs)
        ]

    def _row(self, tokens: Sequence[int], request: ClassifyRequest, index: int) -> EncoderRow:
        wanted = request.truncate_prompt_tokens
        limit = self.max_length if wanted in (None, -1) else min(wanted or 0, self.max_length)
        has_template = request.add_special_tokens and isinstance(request.inputs[index], str)
        template = self.template if has_template else PLAIN.single
        row = template.fill(tokens)
        if len(row) > limit and wanted is not None:
            row = template.fill(tokens[: max(limit - template.num_special, 0)])
        if len(row) > limit:
            raise ContextLengthError(
                f"Input length {len(row)} longer than allowed {limit}: input {index} has that many "
                "tokens; truncate_prompt_tokens cuts it",
                "input",
            )
        if not len(row):
            raise InvalidRequestError(f"input {index} has no tokens", "input")
        return row
