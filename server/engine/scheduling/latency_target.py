"""Limits the size of steps while answers wait for their next tokens."""

from server.engine.scheduling.step_costs import StepCosts, context_work

MIN_CHUNK = 32
"""A step always has room for so many prompt tokens, so that every prompt is read in the end."""

SHARE_OF_PROMPTS = 0.5
"""Prompts may always take this share of the time that decoding alone takes."""


class LatencyTarget:
    """Keeps steps that decode under a target for the time between two tokens of an answer.

    Without a target, and where nothing decodes, only the token budget limits a step.
    """

    def __init__(self, costs: StepCosts, target_s: float) -> None:
        self.costs = costs
        self._target_s = target_s
        self._limit_s: float | None = None
        self._num_decoding = 0

    def begin(self, num_decoding: int, context: float) -> None:
        """Begin a step that decodes `num_decoding` sequences with this `context` of work."""
        self._num_decoding = num_decoding
        self._limit_s = None
        if num_decoding and self._target_s:
            decoding_s = self.costs.predict(num_decoding, context)
            self._limit_s = max(self._target_s, (1 + SHARE_OF_PROMPTS) * decoding_s)

    def room(
        self,
        num_tokens: int,
        context: float,
        num_past: int,
        most: int,
        num_rows: int = 0,
        *,
        adds_rows: bool = False,
    ) -> int:
        """How many tokens of a prompt, up to `most`, the step may have in addition.

        `num_past` of its tokens are computed. With `adds_rows` each of the others needs a row of
        the output head. `num_tokens`, `context` and `num_rows` are the step's so far.
        """
        if self._limit_s is None:
            return most
        fitting = max(0, min(most, MIN_CHUNK - (num_tokens - self._num_decoding)))
        too_many = most + 1
        while too_many - fitting > 1:
            middle = (fitting + too_many) // 2
            work = context + context_work(num_past, middle)
            rows = num_rows + middle if adds_rows else num_rows
            if self.costs.predict(num_tokens + middle, work, rows) <= self._limit_s:
                fitting = middle
            else:
                too_many = middle
        return fitting
