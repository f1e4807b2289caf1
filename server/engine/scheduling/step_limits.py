"""How many tokens one step may have."""

from server.engine.scheduling.latency_target import LatencyTarget
from server.engine.scheduling.patience import Patience
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import Sequence


class StepLimits:
    """The token budget, the latency target, and the rows of prompt logits of a step.

    The logits of a whole chunk, which log probabilities of a prompt need, are large. So no step has
    more than `max_num_prompt_rows` rows of them: such prompts may be read in chunks even without
    `dynamic_split_fuse`.
    """

    def __init__(
        self,
        max_num_batched_tokens: int,
        max_num_prompt_rows: int,
        target: LatencyTarget,
        patience: Patience,
    ) -> None:
        self.max_num_batched_tokens = max_num_batched_tokens
        self.max_num_prompt_rows = max_num_prompt_rows
        self.target = target
        self.patience = patience

    def is_full(self, step: ScheduledStep) -> bool:
        """Whether the token budget is spent."""
        return step.num_tokens >= self.max_num_batched_tokens

    def must_pause(self, sequence: Sequence, num_past: int) -> bool:
        """Whether the rest of a prompt with that many computed tokens must leave time to answers.

        Only a long prompt does, and only while it is not late.
        """
        if not self.target.is_in_debt:
            return False
        reading_s = self.patience.reading_s(num_past, sequence.num_tokens - num_past)
        return self.target.is_long(reading_s) and self.patience.lateness(sequence, num_past) < 1

    def room(self, step: ScheduledStep, sequence: Sequence, num_past: int) -> int:
        """How many further tokens fit the step, of a prompt with that many computed tokens."""
        most = self.max_num_batched_tokens - step.num_tokens
        if not self.target.is_limiting:
            return most
        if self.must_pause(sequence, num_past):
            return 0
        return self.target.room(
            step.num_tokens,
            step.context,
            num_past,
            most,
            step.num_prompt_rows,
            adds_rows=sequence.unread_prompt_logprobs is not None,
            lateness=self.patience.lateness(sequence, num_past),
        )

    def chunk_size(self, sequence: Sequence, step: ScheduledStep) -> int:
        """How many further tokens of a prompt a step may compute, whatever its budget."""
        num_left = sequence.num_uncomputed_tokens - step.num_of(sequence)
        if sequence.unread_prompt_logprobs is None:
            return num_left
        return min(num_left, self.max_num_prompt_rows - step.num_prompt_rows)
