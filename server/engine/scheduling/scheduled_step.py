"""What one step computes: a number of next tokens for each of some sequences, drafts among them."""

from collections.abc import Iterable

from server.engine.kv.kv_cache_manager import BlockCopy
from server.engine.scheduling.step_costs import context_work
from server.engine.sequence import Sequence
from server.engine.token_mask import TokenMask


class ScheduledStep:
    """One step: for each sequence the number of its next tokens to compute.

    `num_tokens` and `num_prompt_rows` are totals: tokens, and tokens whose logits are needed only
    for log probabilities of the prompt. `context` is the total of `context_work`. `copies` are
    block copies to do first.

    A sequence that decodes may have further tokens, which are only guessed: first `num_drafts` says
    how many may be proposed, then `drafts` has those that were. They count as tokens of the step.
    `draft_masks` are the masks of a sequence after each of its drafts, where it has a constraint.
    """

    def __init__(
        self, sequences: Iterable[Sequence] = (), num_new_tokens: Iterable[int] = ()
    ) -> None:
        self.sequences: list[Sequence] = []
        self.num_new_tokens: list[int] = []
        self.copies: list[BlockCopy] = []
        self.num_tokens = 0
        self.num_prompt_rows = 0
        self.context = 0.0
        self.num_drafts: dict[Sequence, int] = {}
        self.drafts: dict[Sequence, tuple[int, ...]] = {}
        self.draft_masks: dict[Sequence, list[TokenMask | None]] = {}
        self._places: dict[Sequence, int] = {}
        for sequence, num_new in zip(sequences, num_new_tokens, strict=True):
            self.add(sequence, num_new)

    def num_of(self, sequence: Sequence) -> int:
        """Tokens of one sequence in the step."""
        place = self._places.get(sequence)
        return 0 if place is None else self.num_new_tokens[place]

    def add(self, sequence: Sequence, num_new_tokens: int) -> None:
        """Put the next tokens of a sequence, or some more of them, into the step."""
        work = context_work(sequence.num_computed_tokens, num_new_tokens)
        place = self._places.setdefault(sequence, len(self.sequences))
        if place == len(self.sequences):
            self.sequences.append(sequence)
            self.num_new_tokens.append(num_new_tokens)
        else:
            self.num_new_tokens[place] += num_new_tokens
            work -= context_work(sequence.num_computed_tokens, 0)
        self._count(sequence, num_new_tokens, work)

    def plan_drafts(self, sequence: Sequence, count: int) -> None:
        """Make room for so many drafts after the token of a sequence."""
        self.add(sequence, count)
        self.num_drafts[sequence] = count

    def set_drafts(self, sequence: Sequence, drafts: Iterable[int]) -> None:
        """Put these drafts into the room that was planned for a sequence; there may be fewer."""
        found = tuple(drafts)
        num_missing = self.num_drafts.pop(sequence) - len(found)
        assert num_missing >= 0, "there are at most as many as were planned"
        self.add(sequence, -num_missing)
        if found:
            self.drafts[sequence] = found

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, before its computed tokens are reset; harmless if it is not in."""
        place = self._places.get(sequence)
        if place is None:
            return
        num_new = self.num_new_tokens[place]
        self._count(sequence, -num_new, -context_work(sequence.num_computed_tokens, num_new))
        del self.sequences[place], self.num_new_tokens[place]
        self.num_drafts.pop(sequence, None)
        self._places = {other: place for place, other in enumerate(self.sequences)}

    def _count(self, sequence: Sequence, num_tokens: int, work: float) -> None:
        """Add to the totals."""
        self.num_tokens += num_tokens
        self.context += work
        if sequence.unread_prompt_logprobs is not None:
            self.num_prompt_rows += num_tokens
