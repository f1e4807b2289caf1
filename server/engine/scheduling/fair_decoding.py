"""Which sequences decode in a step: a request with many of them must not slow down the others."""

from itertools import accumulate

from server.engine.scheduling.step_costs import StepCosts, context_work
from server.engine.sequence import EngineRequest, Sequence

SHARE_OF_SURPLUS = 0.5
"""What a request decodes beyond the number that all have may take so much of the others' time."""


def choose_decoding(decoding: list[Sequence], costs: StepCosts) -> list[Sequence]:
    """The sequences to decode in the next step, of those that could, in the same order.

    Every request gets as many as the one with the fewest has. The rest of the step is shared
    evenly among the requests that have more: of each of these, the shortest sequences go first, so
    that all of them advance. Where all requests have the same number, all decode.
    """
    choices = _by_request(decoding)
    counts = set(map(len, choices))
    if len(counts) < 2:
        return decoding
    # The first of every request, then the second of each that has two, and so on.
    ranked = [s for _, s in sorted(_ranks(choices), key=lambda ranked: ranked[0])]
    context = [0.0, *accumulate(context_work(s.num_computed_tokens, 1) for s in ranked)]

    def cost(num: int) -> float:
        return costs.predict(num, context[num])

    fitting, too_many = min(counts) * len(choices), len(ranked) + 1
    limit_s = (1 + SHARE_OF_SURPLUS) * cost(fitting)
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        if cost(middle) <= limit_s:
            fitting = middle
        else:
            too_many = middle
    chosen = set(ranked[:fitting])
    return [sequence for sequence in decoding if sequence in chosen]


def _by_request(decoding: list[Sequence]) -> list[list[Sequence]]:
    choices: dict[EngineRequest, list[Sequence]] = {}
    for sequence in decoding:
        choices.setdefault(sequence.request, []).append(sequence)
    return list(choices.values())


def _ranks(choices: list[list[Sequence]]) -> list[tuple[int, Sequence]]:
    return [
        ranked
        for of_request in choices
        for ranked in enumerate(sorted(of_request, key=lambda s: (s.num_tokens, s.index)))
    ]
