"""What guesses the next tokens of sequences must offer."""

from collections.abc import Iterable
from collections.abc import Sequence as Rows
from typing import Protocol

from server.engine.kv.kv_cache_manager import BlockCopy
from server.engine.sequence import Sequence


class Proposer(Protocol):
    """Guesses the next tokens of sequences that decode; the guesses are called drafts.

    A wrong draft costs time and never changes an answer: the model computes every draft as if it
    were right, and a sequence keeps those that it would have chosen anyway. Only the engine's
    thread uses it. What it raises switches drafts off for good: then it is closed, and the answers
    go on. What it knows of a sequence may be kept in `sequence.proposal_state`.
    """

    def chances(self, sequence: Sequence, most: int) -> Iterable[float]:
        """Of each token that it would propose the probability that it is accepted.

        Each one given that those before it are accepted, at most `most` numbers; none where it has
        no proposal. It takes microseconds: it is called in nearly every step, and also learns here
        from the tokens that the sequence has got since the last call.
        """

    def seconds(self, num_sequences: int, num_tokens: int) -> float:
        """How long it takes to propose `num_tokens` tokens for each of so many sequences."""

    def copy_blocks(self, copies: Rows[BlockCopy]) -> None:
        """Copy whole KV blocks, (source, destination) in this order, as the model does next."""

    def propose(self, wanted: Rows[tuple[Sequence, int]]) -> Rows[Rows[int]]:
        """For each sequence at most so many tokens that may follow its own; none if unknown.

        The KV of the last token of each sequence is not computed yet. Its block table has room for
        that token and so many more.
        """

    def note_verified(self, sequence: Sequence, num_proposed: int, num_accepted: int) -> None:
        """Learn how many of a sequence's last drafts were accepted."""

    def describe(self) -> dict[str, object]:
        """What it is, and how it fares, for operators. Any thread may ask."""

    def reset(self) -> None:
        """Forget what the KV blocks hold: a step has failed, or the model was loaded anew."""

    def close(self) -> None:
        """Free what it has; may be called again."""
