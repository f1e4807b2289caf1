"""Limits the time that prompts take while answers wait for their next tokens."""

from server.engine.scheduling.patience import PATIENCE
from server.engine.scheduling.step_costs import StepCosts, context_work

MULTIPLE_OF_DECODING = 8
"""The target is so many times as long as a step that decodes one sequence, unless it is given.

Then prompts have seven eighths of a step, so that they are read nearly as fast as alone.
"""

MIN_TARGET_S, MAX_TARGET_S = 0.1, 0.5
"""Bounds of that. A tenth of a second is not noticed; half of one is a pause in what one reads."""

MAX_STRETCH = 4
"""The target is so many times as long for prompts that are due, unless it is given."""

MIN_CHUNK = 32
"""A step always has room for so many prompt tokens, so that every prompt is read in the end."""

SHARE_OF_PROMPTS = 0.5
"""Prompts may always take this share of the time that decoding alone takes."""

LONG_PROMPT = 8
"""Reading a long prompt takes so many steps as long as the target, or more."""

WEIGHT_OF_LONG_PROMPT = 8
"""Long prompts get as much time as so many answers, until they are late."""


class LatencyTarget:
    """Keeps steps that decode under a target for the time between two tokens of an answer.

    `target_s` is given, or None: then it follows from what a step costs on this machine, and grows
    for prompts that have waited long. With 0, and where nothing decodes, only the token budget
    limits a step.

    The target bounds a single step. A long prompt would lengthen hundreds of steps to the target.
    So it shares the time with the answers instead: after each chunk it pauses until they have had
    their part, unless it is late.
    """

    def __init__(self, costs: StepCosts, target_s: float | None) -> None:
        self.costs = costs
        self._given_s = target_s
        self._limit_s = 0.0
        self._decoding_s = 0.0
        self._num_decoding = 0
        # How much longer than their part of the time prompts have taken.
        self._debt_s = 0.0

    @property
    def target_s(self) -> float:
        """The target in seconds; 0 is none."""
        if self._given_s is not None:
            return self._given_s
        of_one_s = self.costs.predict(1, 0)
        return max(MIN_TARGET_S, min(MAX_TARGET_S, MULTIPLE_OF_DECODING * of_one_s))

    @property
    def is_limiting(self) -> bool:
        """Whether the step has a limit."""
        return self._limit_s > 0

    def begin(self, num_decoding: int, context: float) -> None:
        """Begin a step that decodes `num_decoding` sequences with this `context` of work."""
        self._num_decoding = num_decoding
        self._decoding_s = self._limit_s = 0.0
        target_s = self.target_s
        if num_decoding and target_s:
            self._decoding_s = self.costs.predict(num_decoding, context)
            self._limit_s = max(target_s, (1 + SHARE_OF_PROMPTS) * self._decoding_s)

    def end(self, num_tokens: int, context: float, num_rows: int) -> None:
        """End a step with these totals."""
        prompts_s = self.costs.predict(num_tokens, context, num_rows) - self._decoding_s
        of_an_answer_s = self._decoding_s / max(1, self._num_decoding)
        debt_s = self._debt_s + prompts_s - WEIGHT_OF_LONG_PROMPT * of_an_answer_s
        self._debt_s = max(0.0, min(debt_s, self._limit_s))

    @property
    def is_in_debt(self) -> bool:
        """Whether prompts have had more than their part of the time lately."""
        return self.is_limiting and self._debt_s > 0

    def is_long(self, reading_s: float) -> bool:
        """Whether reading a prompt takes many steps."""
        return reading_s > LONG_PROMPT * self._limit_s

    def room(
        self,
        num_tokens: int,
        context: float,
        num_past: int,
        most: int,
        num_rows: int = 0,
        *,
        adds_rows: bool = False,
        lateness: float = 0.0,
    ) -> int:
        """How many tokens of a prompt, up to `most`, the step may have in addition.

        `num_past` of its tokens are computed. With `adds_rows` each of the others needs a row of
        the output head. `num_tokens`, `context` and `num_rows` are the step's so far. `lateness` is
        that of the prompt.
        """
        if not self.is_limiting:
            return most
        limit_s = self._limit_s
        if self._given_s is None:
            limit_s *= max(1.0, min(MAX_STRETCH, MAX_STRETCH * lateness / PATIENCE))

        def fits(num_new: int) -> bool:
            work = context + context_work(num_past, num_new)
            rows = num_rows + num_new if adds_rows else num_rows
            return self.costs.predict(num_tokens + num_new, work, rows) <= limit_s

        # Mostly all fit.
        if fits(most):
            return most
        fitting, too_many = max(0, min(most, MIN_CHUNK - (num_tokens - self._num_decoding))), most
        while too_many - fitting > 1:
            middle = (fitting + too_many) // 2
            if fits(middle):
                fitting = middle
            else:
                too_many = middle
        return fitting
