"""Decides how many tokens are guessed of each sequence: as many as make the step worth its time."""

from math import inf, log, log1p
from typing import NamedTuple

from server.engine.scheduling.step_costs import context_work
from server.engine.sequence import Sequence
from server.engine.speculation.acceptance import Calibration
from server.engine.speculation.measured_steps import MeasuredSteps
from server.engine.speculation.proposer import Proposer

MAX_DRAFTS = 31
"""The most drafts of a sequence in a step: with its own token, 32 rows."""

LEAST_GAIN = 1.03
"""Drafts must make sequences so many times as fast: they prevent the lookahead, and may fail."""

LEAST_CHANCE, HIGHEST_CHANCE = 0.02, 0.95
"""Drafts that are less likely to be accepted are not considered, and none is thought likelier."""

LOOK_S = 15e-6
"""What it takes to look for drafts of a sequence. They must be worth that, too."""

SHARE_OF_LOOKING = 0.005
"""How much of its time an engine may spend on looking for drafts in vain."""

MAX_PAUSE = 64
"""So many steps after plans without drafts the next one is made at the latest."""


class Draft(NamedTuple):
    """A draft of a sequence that may be taken, after those before it.

    `chance` is the probability that it is accepted, and with it all before it: the tokens that it
    brings. `worth` is how much faster that makes the sequence, as a logarithm.
    """

    worth: float
    chance: float
    sequence: Sequence


class DraftPlanner:
    """Chooses the drafts of a whole step at once, by what steps have taken until now.

    A step of T tokens takes cost(T) and brings each sequence one token, and what its drafts bring.
    The geometric mean of the sequences' tokens per second becomes as high as it can: so nobody is
    slowed down for the drafts of others by more than these gain. Drafts are taken in the order of
    their worth, as many as are best; none where they would gain hardly anything. So sequences whose
    drafts fail have none, and neither has a batch so large that its products take the time. Chances
    are corrected by what came of earlier ones. Where plans are empty again and again, fewer are
    made.
    """

    def __init__(
        self, proposer: Proposer, steps: MeasuredSteps, max_num_tokens: int, long_after: int | None
    ) -> None:
        self._proposer = proposer
        self._steps = steps
        self._max_num_tokens = max_num_tokens
        self._long_after = long_after
        self._calibration = Calibration()
        self._expected = 0.0
        self._num_planned = 0
        self._num_empty = 0
        self._pause = 0

    def plan(self, decoding: list[Sequence]) -> dict[Sequence, int]:
        """How many drafts to propose for each sequence; those without are left out."""
        self._expected = 0.0
        if any(sequence.num_generated_tokens == 1 for sequence in decoding):
            # A new answer may be of another kind.
            self._num_empty = self._pause = 0
        if self._pause:
            self._pause -= 1
            return {}
        room = self._max_num_tokens - len(decoding)
        candidates = [(s, most) for s in decoding if (most := self._most_drafts(s)) > 0]
        if room <= 0 or not candidates:
            return {}
        step = _Step(self._steps, self._proposer, decoding)
        least = step.least_worth(min(room, sum(most for _, most in candidates)))
        if least > log1p(HIGHEST_CHANCE):
            return {}
        factor = self._calibration.factor
        drafts = self._find_drafts(candidates, factor, least)
        counts, num_expected = step.best(drafts[:room])
        self._expected = num_expected / factor
        self._num_planned = sum(counts.values())
        if not counts:
            # What failed once is tried again some time.
            self._calibration.fade()
        self._note_plan(bool(counts), len(candidates), step.plain_s)
        return counts

    def note_scheduled(self, num_drafts: int) -> None:
        """Expect less of the last plan where only so many of its drafts had room and were made."""
        if self._expected:
            self._expected *= num_drafts / self._num_planned

    def note_verified(self, num_accepted: int) -> None:
        """Learn how many drafts of the last plan were accepted, of all sequences together."""
        if self._expected:
            self._calibration.note(self._expected, num_accepted)

    def _find_drafts(
        self, candidates: list[tuple[Sequence, int]], factor: float, least: float
    ) -> list[Draft]:
        """The drafts that are worth at least so much, the best first."""
        drafts: list[Draft] = []
        for sequence, most in candidates:
            chance, total = factor, 1.0
            for of_next in self._proposer.chances(sequence, most):
                chance *= min(of_next, HIGHEST_CHANCE)
                worth = log1p(chance / total)
                if chance < LEAST_CHANCE or worth < least:
                    break
                total += chance
                drafts.append(Draft(worth, chance, sequence))
        drafts.sort(key=lambda draft: draft.worth, reverse=True)
        return drafts

    def _note_plan(self, has_drafts: bool, num_looked: int, plain_s: float) -> None:
        """Make no plan in some of the next steps where plans are empty and take time."""
        self._num_empty = 0 if has_drafts else self._num_empty + 1
        steps = num_looked * LOOK_S / (SHARE_OF_LOOKING * plain_s)
        self._pause = min(int(steps * self._num_empty), MAX_PAUSE)

    def _most_drafts(self, sequence: Sequence) -> int:
        """How many drafts a sequence could use."""
        request = sequence.request
        wanted = request.params.max_draft_tokens
        if wanted == 0 or sequence.group is not None or sequence.num_generated_tokens == 0:
            return 0
        most = min(
            MAX_DRAFTS if wanted is None else min(wanted, MAX_DRAFTS),
            # The last token has no row after it.
            request.max_tokens - sequence.num_generated_tokens - 1,
        )
        if self._long_after is not None and not sequence.uses_long_rope:
            # Longer ones are computed with other factors.
            most = min(most, self._long_after - sequence.num_tokens)
        return most


class _Step:
    """What a step of some decoding sequences costs and brings with drafts."""

    def __init__(self, steps: MeasuredSteps, proposer: Proposer, decoding: list[Sequence]) -> None:
        self._steps, self._proposer = steps, proposer
        self._num = len(decoding)
        self._context = sum(context_work(s.num_computed_tokens, 1) for s in decoding)
        self.plain_s = steps.seconds(self._num, self._num, self._context)

    def least_worth(self, num_drafts: int) -> float:
        """A draft of up to so many that is worth less cannot pay; infinity if nothing is known."""
        if self.plain_s <= 0:
            return inf
        least_s = min(
            (self._seconds(count, self._context) - self.plain_s) / count
            for count in self._sizes(num_drafts)
        )
        return self._num * log1p(max(0.0, least_s) / self.plain_s)

    def best(self, drafts: list[Draft]) -> tuple[dict[Sequence, int], float]:
        """How many of these drafts each sequence should have, and the tokens that they bring."""
        least_gain = LEAST_GAIN + self._num * LOOK_S / self.plain_s
        best_gain, best_count, best_expected = self._num * log(least_gain), 0, 0.0
        worth, expected, context, longest = 0.0, 0.0, self._context, 0
        counts: dict[Sequence, int] = {}
        sizes = set(self._sizes(len(drafts)))
        for count, (of_draft, chance, sequence) in enumerate(drafts, 1):
            worth += of_draft
            expected += chance
            counts[sequence] = counts.get(sequence, 0) + 1
            longest = max(longest, counts[sequence])
            past = sequence.num_computed_tokens
            context += context_work(past, 1) - context_work(past, 0)
            if count not in sizes:
                continue
            seconds = self._seconds(count, context)
            seconds += self._proposer.seconds(len(counts), longest)
            gain = worth - self._num * log(seconds / self.plain_s)
            if gain >= best_gain:
                best_gain, best_count, best_expected = gain, count, expected
        chosen: dict[Sequence, int] = {}
        for draft in drafts[:best_count]:
            chosen[draft.sequence] = chosen.get(draft.sequence, 0) + 1
        return chosen, best_expected

    def _seconds(self, num_drafts: int, context: float) -> float:
        return self._steps.seconds(self._num, self._num + num_drafts, context)

    def _sizes(self, num_drafts: int) -> list[int]:
        """Numbers of drafts that fill a padded step: what is between costs as much as the next."""
        padded, sizes = self._steps.padded, []
        count = 0
        while count < num_drafts:
            count = min(num_drafts, padded(self._num + count + 1) - self._num)
            sizes.append(count)
        return sizes
