"""Decides how many tokens are guessed of each sequence: as many as make the step worth its time."""

from operator import itemgetter

from server.engine.scheduling.step_costs import StepCosts, context_work
from server.engine.sequence import Sequence
from server.engine.speculation.proposer import Proposer

MAX_DRAFTS = 31
"""The most drafts of a sequence in a step: with its own token, 32 rows."""

LEAST_GAIN = 1.03
"""A step with drafts must bring so many times the tokens per second of one without.

It also takes some time that is not measured, and prevents the lookahead.
"""

LEAST_CHANCE = 0.02
"""Drafts that are less likely to be reached and accepted are not considered."""

Gain = tuple[float, Sequence]
"""The probability that a draft is reached and accepted, which is its share of a token."""


class DraftPlanner:
    """Chooses the drafts of a whole step at once, by what `costs` has measured.

    A step of T tokens takes cost(T) and brings one token for each sequence and the chances of all
    drafts. Of these the likeliest are taken, as many as give the most tokens per second; none where
    that is hardly more than without. So sequences whose drafts fail have none, and neither has a
    batch so large that its products take the time.
    """

    def __init__(
        self, proposer: Proposer, costs: StepCosts, max_num_tokens: int, long_after: int | None
    ) -> None:
        self._proposer = proposer
        self._costs = costs
        self._max_num_tokens = max_num_tokens
        self._long_after = long_after

    def plan(self, decoding: list[Sequence]) -> dict[Sequence, int]:
        """How many drafts to propose for each sequence; those without are left out."""
        room = self._max_num_tokens - len(decoding)
        candidates = [(s, most) for s in decoding if (most := self._most_drafts(s)) > 0]
        if room <= 0 or not candidates:
            return {}
        step = _Step(self._costs, self._proposer, decoding)
        # Looking for drafts takes time as well.
        if not step.could_gain(min(room, sum(most for _, most in candidates))):
            return {}
        gains: list[Gain] = []
        for sequence, most in candidates:
            gain = 1.0
            for chance in self._proposer.chances(sequence, most):
                gain *= chance
                if gain < LEAST_CHANCE:
                    break
                gains.append((gain, sequence))
        # Stable: of equal ones those of a sequence stay in order.
        gains.sort(key=itemgetter(0), reverse=True)
        return step.best(gains[:room])

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

    def __init__(self, costs: StepCosts, proposer: Proposer, decoding: list[Sequence]) -> None:
        self._costs, self._proposer = costs, proposer
        self._num = len(decoding)
        self._context = sum(context_work(s.num_computed_tokens, 1) for s in decoding)
        plain_s = costs.predict(self._num, self._context)
        self._least_rate = LEAST_GAIN * self._num / plain_s if plain_s > 0 else float("inf")

    def could_gain(self, num_drafts: int) -> bool:
        """Whether some number of drafts, up to this one, would pay if all were accepted."""
        return any(
            self._num + count
            >= self._least_rate * self._costs.predict(self._num + count, self._context)
            for count in self._sizes(num_drafts)
        )

    def best(self, gains: list[Gain]) -> dict[Sequence, int]:
        """The drafts of each sequence that give the most tokens per second."""
        best_rate, best_count = self._least_rate, 0
        num_tokens, context = float(self._num), self._context
        counts: dict[Sequence, int] = {}
        sizes = set(self._sizes(len(gains)))
        longest = 0
        for count, (gain, sequence) in enumerate(gains, 1):
            num_tokens += gain
            counts[sequence] = counts.get(sequence, 0) + 1
            longest = max(longest, counts[sequence])
            context += context_work(sequence.num_computed_tokens, 1)
            if count not in sizes:
                continue
            seconds = self._costs.predict(self._num + count, context)
            rate = num_tokens / (seconds + self._proposer.seconds(len(counts), longest))
            if rate >= best_rate:
                best_rate, best_count = rate, count
        chosen: dict[Sequence, int] = {}
        for _, sequence in gains[:best_count]:
            chosen[sequence] = chosen.get(sequence, 0) + 1
        return chosen

    def _sizes(self, num_drafts: int) -> list[int]:
        """Numbers of drafts that fill a padded step: what is between costs as much as the next."""
        padded, sizes = self._costs.padded, []
        count = 0
        while count < num_drafts:
            count = min(num_drafts, padded(self._num + count + 1) - self._num)
            sizes.append(count)
        return sizes
