"""How much a step may hold while answers are waiting for their next tokens."""

from server.engine.scheduling.step_costs import StepCosts, context_work

MIN_CHUNK = 32
"""Tokens of prompts that a step may have however long it takes, so that all prompts are read."""

SHARE_OF_PROMPTS = 0.5
"""Of the time that decoding alone takes, prompts may always take so much."""


class LatencyTarget:
    """Keeps steps that decode under a target for the time between two tokens of an answer.

    Without a target, and where nothing is decoded, steps are as large as they may be.
    """

    def __init__(self, costs: StepCosts, target_s: float) -> None:
        self._costs = costs
        self._target_s = target_s
        self._limit_s: float | None = None
        self._num_decoding = 0

    def begin(self, num_decoding: int, context: float) -> None:
        """Start a step that decodes so many sequences; `context` is the work on their past."""
        self._num_decoding = num_decoding
        self._limit_s = None
        if num_decoding and self._target_s:
            decoding_s = self._costs.predict(num_decoding, context)
            self._limit_s = max(self._target_s, (1 + SHARE_OF_PROMPTS) * decoding_s)

    def room(self, num_tokens: int, context: float, num_past: int, most: int) -> int:
        """How many further tokens, up to `most`, of a prompt with that past the step may have.

        `num_tokens` and `context` are those of the step so far.
        """
        if self._limit_s is None:
            return most
        fitting = max(0, min(most, MIN_CHUNK - (num_tokens - self._num_decoding)))
        too_many = most + 1
        while too_many - fitting > 1:
            middle = (fitting + too_many) // 2
            work = context + context_work(num_past, middle)
            if self._costs.predict(num_tokens + middle, work) <= self._limit_s:
                fitting = middle
            else:
                too_many = middle
        return fitting
