"""Which tokens may come next in an answer that must follow a grammar, by llguidance."""

from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher

from calculators.guided.grammar import GrammarError
from calculators.guided.repeated_keys import KeyState, QuoteTokens

__all__ = ["GrammarConstraint"]


class GrammarConstraint:
    """One answer on its way through a grammar; a TokenConstraint for the engine.

    `vocab_size` is the number of tokens of the model; errors name `field` of the request. Raises
    InvalidRequestError for a grammar that no answer satisfies; `forbidden_tokens` raises it if the
    answer becomes too complex. With `quotes`, which are for answers of JSON, no object has a key
    twice unless the grammar allows nothing else.
    """

    can_complete: ClassVar[bool] = True

    __slots__ = ("_field", "_keys", "_mask", "_matcher", "_quotes", "_vocab_size")

    def __init__(
        self, matcher: LLMatcher, vocab_size: int, field: str, quotes: QuoteTokens | None = None
    ) -> None:
        self._matcher = matcher
        self._quotes = quotes
        self._keys = KeyState()
        self._vocab_size = vocab_size
        self._field = field
        self._mask: npt.NDArray[np.uint8] | None = self._compute_mask()

    def forbidden_tokens(self) -> npt.NDArray[np.bool_]:
        """bool[vocabulary]: the tokens that must not come next."""
        if self._mask is None:
            self._mask = self._compute_mask()
        bits = np.unpackbits(~self._mask, count=self._vocab_size, bitorder="little")
        forbidden = bits.view(np.bool_)
        if self._quotes is not None:
            repeating = self._quotes.repeating(self._keys, forbidden)
            kept = forbidden[repeating]
            forbidden[repeating] = True
            if len(repeating) and forbidden.all():
                forbidden[repeating] = kept
        return forbidden

    def accept(self, token_id: int) -> None:
        """Move on by a token."""
        self._matcher.consume_token(token_id)
        if self._quotes is not None:
            self._keys = self._keys.after(self._quotes.table.lookup(token_id))
        self._mask = None

    def fork(self) -> Self:
        """A copy that goes on independently."""
        copy = object.__new__(type(self))
        copy._matcher = self._matcher.deep_copy()
        copy._vocab_size = self._vocab_size
        copy._field = self._field
        copy._quotes = self._quotes
        copy._keys = self._keys
        copy._mask = self._mask
        return copy

    def _compute_mask(self) -> npt.NDArray[np.uint8]:
        mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            # After the first line comes the state of the parser.
            problem = self._matcher.get_error().partition("\n")[0]
            if problem.startswith("NoExtension"):
                raise GrammarError(self._field, "no answer can satisfy it")
            raise GrammarError(self._field, f"it is too complex: {problem}")
        return mask
