"""How long prompts can wait, measured by how long reading them takes."""

from collections.abc import Callable
from math import inf
from time import perf_counter

from server.engine.scheduling.step_costs import StepCosts, context_work
from server.engine.sequence import Sequence

PATIENCE = 8
"""A prompt lets later ones go first for so many times as long as reading it takes.

Then short prompts hardly wait for long ones, and the ratio of the wait to the reading, which is
what a user sees, is about the same for all of them (highest response ratio next).
"""

MAX_WAIT_S = 30.0
"""After so many seconds a prompt lets nothing that comes later go first."""

NOMINAL_TOKEN_S = 0.001
"""What reading a token takes, before any step was observed."""


class Patience:
    """Tells when prompts are due and how late they are.

    `chunk` is the most tokens of a step. The times are those of `clock`, in seconds;
    `request.arrived_s` must be of the same clock.
    """

    def __init__(
        self, costs: StepCosts, chunk: int, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.clock = clock
        self._costs = costs
        self._chunk = chunk

    def reading_s(self, num_past: int, num_new: int) -> float:
        """Seconds that reading `num_new` tokens after `num_past` computed ones takes alone."""
        chunk = max(1, min(num_new, self._chunk))
        mean_past = num_past + (num_new - chunk) // 2
        of_a_chunk = self._costs.predict(chunk, context_work(mean_past, chunk))
        return num_new / chunk * (of_a_chunk or chunk * NOMINAL_TOKEN_S)

    def due_s(self, sequence: Sequence, num_left: int) -> float:
        """When a prompt with `num_left` tokens to compute should go before all that comes later."""
        reading_s = self.reading_s(sequence.num_tokens - num_left, num_left)
        return sequence.request.arrived_s + min(MAX_WAIT_S, PATIENCE * reading_s)

    def lateness(self, sequence: Sequence, num_past: int) -> float:
        """For how many times as long as reading it takes a prompt has waited for its first token.

        `num_past` of its tokens are computed or cached. An answer that has begun is always late.
        """
        if sequence.num_generated_tokens:
            return inf
        request = sequence.request
        num_cached = request.num_cached_tokens if sequence.has_started else num_past
        reading_s = self.reading_s(num_cached, sequence.num_tokens - num_cached)
        return (self.clock() - request.arrived_s) / reading_s
