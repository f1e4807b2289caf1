"""One question with its answer, the smallest part of a conversation."""

from __future__ import annotations

import random
from dataclasses import dataclass

REFUSAL = "Sorry, I do not know that."


@dataclass(frozen=True)
class Turn:
    """A question, its answer, and the key that decides on which side of the split it falls."""

    key: str
    user: str
    answer: str
    keep_case: bool = False


def pick(rng: random.Random, templates: list[str]) -> tuple[int, str]:
    """A template with its number, which is part of the key."""
    index = rng.randrange(len(templates))
    return index, templates[index]
