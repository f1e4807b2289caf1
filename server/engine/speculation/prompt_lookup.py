"""Prompt lookup: proposes what followed the last tokens where they occurred before.

(A. Saxena, Prompt Lookup Decoding, 2023; N. Yang et al., LLMA, arXiv 2304.04487.) It needs no model
and helps where answers repeat parts of their prompt or of themselves.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Rows

from server.engine.kv.kv_cache_manager import BlockCopy
from server.engine.sequence import Sequence
from server.engine.speculation.acceptance import HitRates
from server.engine.speculation.ngram_index import NOWHERE, NgramIndex

DEFAULT_LONGEST = 16
"""The most tokens that are compared, unless a request says `max_ngram_size`."""

LONGEST = 256
"""The most in any case: each token compares as many, and longer matches say no more."""

SHORTEST = 2
"""One token alone occurs too often to say what comes next."""

EXPECTED = (0.0, 0.15, 0.4, 0.6, 0.8, 0.9)
"""How often the next token is right, by the kind of match, before anything is known."""

MAX_LEARNT = 8
"""Where more tokens came since the last look, not counting drafts, nothing is learnt from them."""


class PromptLookup:
    """Proposes from the tokens of each sequence itself.

    How often it is right is measured for matches of 1, 2, 4, 8 and 16 equal tokens or more, of each
    sequence and of all together. Every token counts, whether it was drafted or not.
    """

    def __init__(self) -> None:
        self._all_rates = HitRates(len(EXPECTED), memory=0.998, weight=20.0)

    def chances(self, sequence: Sequence, most: int) -> Iterator[float]:
        """See Proposer."""
        lookup = self._lookup(sequence)
        if lookup.index.place == NOWHERE:
            return
        first, kind, chance = lookup.index.length, 0, 0.0
        for length in range(first, first + most):
            if _kind(length) != kind:
                kind = _kind(length)
                known = self._all_rates.of(kind, EXPECTED[kind])
                chance = lookup.rates.of(kind, known)
            yield chance

    def seconds(self, num_sequences: int, num_tokens: int) -> float:
        """Nothing that counts."""
        return 0.0

    def copy_blocks(self, copies: Rows[BlockCopy]) -> None:
        """There are no blocks."""

    def propose(self, wanted: Rows[tuple[Sequence, int]]) -> list[list[int]]:
        """See Proposer."""
        proposed = []
        for sequence, most in wanted:
            lookup = self._lookup(sequence)
            lookup.num_proposed = most
            proposed.append(lookup.index.continuation(most))
        return proposed

    def note_verified(self, sequence: Sequence, num_proposed: int, num_accepted: int) -> None:
        """The tokens of the sequence tell more."""

    def describe(self) -> dict[str, object]:
        """See Proposer."""
        return {"proposer": "prompt_lookup"}

    def reset(self) -> None:
        """There are no blocks."""

    def close(self) -> None:
        """There is nothing to free."""

    def _lookup(self, sequence: Sequence) -> "_Lookup":
        """What is known of a sequence, up to its last token."""
        lookup = sequence.proposal_state
        if not isinstance(lookup, _Lookup):
            lookup = sequence.proposal_state = _Lookup(sequence)
        if sequence.num_tokens > lookup.index.size:
            tokens = sequence.token_ids.view(lookup.index.size).tolist()
            if len(tokens) > MAX_LEARNT + lookup.num_proposed:
                lookup.index.extend(tokens)
            else:
                for token in tokens:
                    self._learn(lookup, token)
            lookup.num_proposed = 0
        return lookup

    def _learn(self, lookup: "_Lookup", token: int) -> None:
        index = lookup.index
        if index.place != NOWHERE:
            kind, is_hit = _kind(index.length), index.expected == token
            lookup.rates.note(kind, is_hit)
            self._all_rates.note(kind, is_hit)
        index.append(token)


class _Lookup:
    """The index of one sequence, and how often it was right."""

    def __init__(self, sequence: Sequence) -> None:
        self.rates = HitRates(len(EXPECTED), memory=0.9, weight=2.0)
        self.num_proposed = 0
        longest = min(sequence.request.params.max_ngram_size or DEFAULT_LONGEST, LONGEST)
        tokens = sequence.token_ids.view()
        self.index = NgramIndex(tokens, min(SHORTEST, longest), longest)


def _kind(length: int) -> int:
    """1 for a match of one token, 2 for 2 or 3, and so on."""
    return min(length.bit_length(), len(EXPECTED) - 1)
