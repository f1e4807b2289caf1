"""How long a prompt may be, which only the node that runs the model knows."""

from dataclasses import dataclass
from typing import Protocol

__all__ = ["PromptLimit"]


class Check(Protocol):
    def __call__(self, num_tokens: int, *, is_exact: bool) -> None:
        """Raise ContextLengthError if no prompt of so many tokens, or more, can run."""


@dataclass(frozen=True, slots=True)
class PromptLimit:
    """`check` passes at most `max_tokens`."""

    max_tokens: int
    check: Check
