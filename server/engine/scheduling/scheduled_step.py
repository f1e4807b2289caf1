"""What one step computes: so many of the next tokens of some sequences."""

from dataclasses import dataclass, field

from server.engine.kv.kv_cache_manager import BlockCopy
from server.engine.scheduling.step_costs import context_work
from server.engine.sequence import Sequence


@dataclass(slots=True)
class ScheduledStep:
    """One step: for each sequence the number of its next tokens to compute.

    `copies` are block copies to do first.
    """

    sequences: list[Sequence] = field(default_factory=list)
    num_new_tokens: list[int] = field(default_factory=list)
    copies: list[BlockCopy] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole step."""
        return sum(self.num_new_tokens)

    @property
    def context(self) -> float:
        """What the tokens of the past add to the step, as `context_work` counts it."""
        pairs = zip(self.sequences, self.num_new_tokens, strict=True)
        return sum(context_work(sequence.num_computed_tokens, num) for sequence, num in pairs)

    @property
    def num_prompt_rows(self) -> int:
        """Tokens whose logits are needed only for what they say of the prompt."""
        pairs = zip(self.sequences, self.num_new_tokens, strict=True)
        return sum(num for sequence, num in pairs if sequence.unread_prompt_logprobs is not None)

    def num_of(self, sequence: Sequence) -> int:
        """Tokens of one sequence in the step."""
        if sequence not in self.sequences:
            return 0
        return self.num_new_tokens[self.sequences.index(sequence)]

    def add(self, sequence: Sequence, num_new_tokens: int) -> None:
        """Put the next tokens of a sequence, or some more of them, into the step."""
        if sequence in self.sequences:
            self.num_new_tokens[self.sequences.index(sequence)] += num_new_tokens
            return
        self.sequences.append(sequence)
        self.num_new_tokens.append(num_new_tokens)
