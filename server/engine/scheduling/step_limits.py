"""How many tokens one step may have."""

from dataclasses import dataclass

from server.engine.scheduling.latency_target import LatencyTarget
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class StepLimits:
    """The token budget, the latency target, and the rows of prompt logits of a step.

    The logits of a whole chunk, which log probabilities of a prompt need, are large. So no step has
    more than `max_num_prompt_rows` rows of them: such prompts may be read in chunks even without
    `dynamic_split_fuse`.
    """

    max_num_batched_tokens: int
    max_num_prompt_rows: int
    target: LatencyTarget

    def is_full(self, step: ScheduledStep) -> bool:
        """Whether the token budget is spent."""
        return step.num_tokens >= self.max_num_batched_tokens

    def room(self, step: ScheduledStep, sequence: Sequence, num_past: int) -> int:
        """How many further tokens fit the step, of a prompt with that many computed tokens."""
        return self.target.room(
            step.num_tokens,
            step.context,
            num_past,
            self.max_num_batched_tokens - step.num_tokens,
            step.num_prompt_rows,
            adds_rows=sequence.unread_prompt_logprobs is not None,
        )

    def chunk_size(self, sequence: Sequence, step: ScheduledStep) -> int:
        """How many further tokens of a prompt a step may compute, whatever its budget."""
        num_left = sequence.num_uncomputed_tokens - step.num_of(sequence)
        if sequence.unread_prompt_logprobs is None:
            return num_left
        return min(num_left, self.max_num_prompt_rows - step.num_prompt_rows)
