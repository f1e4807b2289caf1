"""Drafts that a test chooses, in place of those of an engine's own proposer."""

from collections.abc import Callable
from collections.abc import Sequence as Rows

import numpy as np

from server.engine.engine import LLMEngine
from server.engine.kv.kv_cache_manager import BlockCopy
from server.engine.sequence import Sequence

Guess = Callable[[Sequence], Rows[int]]
"""The drafts after the tokens that a sequence has."""


class ForcedProposer:
    """Proposes what `guess` says, whatever that costs, and notes what was accepted."""

    def __init__(self, guess: Guess) -> None:
        self.guess = guess
        self.verified: list[tuple[int, int]] = []
        self.num_resets = 0

    def chances(self, sequence: Sequence, most: int) -> list[float]:
        return [1.0] * most

    def seconds(self, num_sequences: int, num_tokens: int) -> float:
        return 0.0

    def copy_blocks(self, copies: Rows[BlockCopy]) -> None: ...

    def propose(self, wanted: Rows[tuple[Sequence, int]]) -> list[Rows[int]]:
        return [self.guess(sequence)[:most] for sequence, most in wanted]

    def note_verified(self, sequence: Sequence, num_proposed: int, num_accepted: int) -> None:
        self.verified.append((num_proposed, num_accepted))

    def describe(self) -> dict[str, object]:
        return {}

    def reset(self) -> None:
        self.num_resets += 1

    def close(self) -> None: ...


def force(engine: LLMEngine, guess: Guess) -> ForcedProposer:
    """Let every step of an engine that speculates have all these drafts."""
    speculation = engine._speculation
    assert speculation is not None, "the engine speculates"
    proposer = speculation.proposer = ForcedProposer(guess)
    most_drafts = speculation._planner._most_drafts

    def plan(decoding: list[Sequence]) -> dict[Sequence, int]:
        counts = {s: min(most_drafts(s), len(guess(s))) for s in decoding}
        return {sequence: count for sequence, count in counts.items() if count > 0}

    engine.scheduler._plan_drafts = plan
    return proposer


Answers = dict[tuple[tuple[int, ...], int], list[int]]
"""What follows a prompt, by its tokens and the index of the choice."""


def right(answers: Answers, count: int) -> Guess:
    """The next `count` tokens of the known answer."""

    def guess(sequence: Sequence) -> list[int]:
        prompt = tuple(sequence.request.prompt_token_ids.tolist())
        done = sequence.num_generated_tokens
        return answers[prompt, sequence.index][done : done + count]

    return guess


def wrong(answers: Answers, count: int) -> Guess:
    """Other tokens than those of the known answer."""
    known = right(answers, count)
    return lambda sequence: [3 if token != 3 else 4 for token in known(sequence)]


def mixed(answers: Answers, seed: int = 0) -> Guess:
    """A random number of right tokens, then some wrong ones; the same for the same tokens."""

    def guess(sequence: Sequence) -> list[int]:
        rng = np.random.default_rng((seed, sequence.num_tokens, sequence.index))
        num_right, num_wrong = rng.integers(0, 7, 2).tolist()
        return right(answers, num_right)(sequence) + [3, 5, 7, 9, 11, 13][:num_wrong]

    return guess
