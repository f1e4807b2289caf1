"""A sequence as its draft model sees it: its tokens, and those that are guessed after them."""

from copy import deepcopy
from dataclasses import replace

from server.engine.sequence import Sequence
from server.engine.speculation.acceptance import HitRates
from server.engine.speculation.draft_blocks import DraftBlocks, TextDigests

NUM_KINDS = 4
"""Drafts are counted by their place in the proposal: the first, second, third, and later ones."""

FIRST_PAUSE = 64
"""Tokens until drafts are tried again where they did not pay; twice as many each time."""


class DraftSequence:
    """The draft model's own `sequence` over the blocks of the target's, which it follows.

    `num_known` are the tokens of the target when `follow` was called last. The text is not readable
    if it has tokens that the draft model has no embedding for. A sequence that samples
    uses the random numbers that the target's will use: equal logits then give equal tokens, and
    similar ones mostly do (coupling; D. Leviathan et al., arXiv 2211.17192, accept by other means).
    """

    def __init__(self, target: Sequence, block_size: int, num_readable: int) -> None:
        request, params = target.request, target.request.params
        own = replace(
            request,
            params=replace(params, logprobs=None, prompt_logprobs=None),
            constraint=None,
            on_start=None,
            long_after=None,
        )
        self.sequence = Sequence(own, target.index, target.arrival)
        self.sequence.num_pending_forks = 0
        self.sequence.draws_alone = target.draws_alone = True
        self.num_known = self.sequence.num_tokens
        self.is_readable = int(self.sequence.token_ids.view().max()) < num_readable
        self._num_readable = num_readable
        self.rates = HitRates(NUM_KINDS, memory=0.9, weight=4.0)
        self._text = TextDigests(self.sequence.token_ids, block_size)
        self._num_skipped = 0
        self._pause = FIRST_PAUSE

    def follow(self, target: Sequence, blocks: DraftBlocks) -> None:
        """Take the tokens, the blocks and the random numbers that the target has now."""
        own = self.sequence
        own.take_back(own.num_tokens - self.num_known)
        self._text.truncate()
        for token in target.token_ids.view(self.num_known).tolist():
            own.append(token)
            self.is_readable = self.is_readable and token < self._num_readable
        self.num_known = target.num_tokens
        self._text.update()
        own.block_table = target.block_table
        if not own.request.params.is_greedy:
            own._rng = deepcopy(target.rng)
        found = blocks.num_known(self._text, own.block_table.view())
        # The last token is computed in any case, for its logits.
        own.num_computed_tokens = min(found, own.num_tokens - 1)

    def note_computed(self, blocks: DraftBlocks, start: int) -> None:
        """The tokens from `start` on have been computed."""
        self._text.update()
        table = self.sequence.block_table.view()
        blocks.note(self._text, table, start, self.sequence.num_computed_tokens)

    def drafts(self) -> list[int]:
        """The guessed tokens."""
        found: list[int] = self.sequence.token_ids.view(self.num_known).tolist()
        return found

    def should_try(self) -> bool:
        """Count a step without drafts; whether to try them again although they did not pay."""
        self._num_skipped += 1
        if self._num_skipped < self._pause:
            return False
        self._num_skipped, self._pause = 0, 2 * self._pause
        return True

    def note_verified(self, num_proposed: int, num_accepted: int) -> None:
        """Learn from the drafts that were accepted, and from the first one that was not."""
        self._num_skipped = 0
        if num_accepted:
            self._pause = FIRST_PAUSE
        for number in range(min(num_accepted + 1, num_proposed)):
            self.rates.note(kind_of(number), number < num_accepted)


def kind_of(number: int) -> int:
    """The kind of a draft by its place in the proposal, from 0."""
    return min(number, NUM_KINDS - 1)
