"""How much a model is to think, in the words of clients and in those of its chat template."""

from collections.abc import Mapping, Sequence

from server.payloads import REASONING_EFFORTS as EFFORTS
from server.payloads import ReasoningEffort as Effort

__all__ = ["NO_THINKING", "map_efforts"]

# What templates call it when there is to be no thinking.
NO_THINKING = ("none", "no_think")


def map_efforts(known: Sequence[Effort], *, has_default: bool) -> Mapping[Effort, str]:
    """Map every effort to one that a template knows; `known` are some of them, or all.

    An effort between two known ones becomes the nearest, the higher of two equally near. Below or
    above all of them it is left out where the template `has_default`, a form for other efforts.
    """
    places = [EFFORTS.index(effort) for effort in known]
    mapped: dict[Effort, str] = {}
    for place, effort in enumerate(EFFORTS):
        # Not to think at all is no small effort.
        candidates = [p for p in places if p or not place]
        if not candidates:
            continue
        is_outside = not min(candidates) <= place <= max(candidates)
        if is_outside and has_default and place:
            continue
        mapped[effort] = EFFORTS[min(candidates, key=lambda p: (abs(p - place), -p))]
    return mapped
