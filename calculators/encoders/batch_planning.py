"""Which rows are inferred together, and how far they are padded."""

from collections.abc import Sequence
from itertools import groupby

__all__ = ["padded_length", "padded_num_rows", "plan_batches"]

MIN_LENGTH = 8
# Padding takes at most an eighth of a long row, and there are 8 lengths between powers of two.
LENGTHS_PER_OCTAVE = 8
ROWS_PER_OCTAVE = 4

INFERENCE_OVERHEAD = 64
"""What an inference costs whatever its size, in tokens: 1 to 2 ms for a small BERT on two cores."""


def padded_length(num_tokens: int, max_length: int) -> int:
    """The number of tokens that a row is padded to, at most those that the model has positions for.

    With few lengths, the device sees few shapes: OpenVINO's CPU plugin prepares kernels for each
    new one, which takes longer than to infer a short text.
    """
    return min(_round_up(num_tokens, LENGTHS_PER_OCTAVE, MIN_LENGTH), max_length)


def padded_num_rows(num_rows: int) -> int:
    """The number of rows that a batch is padded to."""
    return _round_up(num_rows, ROWS_PER_OCTAVE, 1)


def plan_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Split rows of these padded lengths into batches, each of which is one inference.

    Returns the indices of the rows of each batch. A batch is padded to its longest row, and has
    more than `token_budget` tokens only if it is a single row. Of all ways to cut the rows, sorted
    by length, this is the one that computes the fewest tokens, where each inference counts as
    INFERENCE_OVERHEAD tokens more.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    batches = []
    start = 0
    for num_rows in _cut([(k, len(list(group))) for k, group in groupby(sorted(lengths))]):
        rows = order[start : start + num_rows]
        start += num_rows
        most = rows_within(token_budget, lengths[rows[-1]])
        batches += [rows[i : i + most] for i in range(0, num_rows, most)]
    return batches


def rows_within(token_budget: int, length: int) -> int:
    """How many rows of a length a batch may have."""
    most = max(1, token_budget // length)
    # Full batches need no padding with rows.
    while padded_num_rows(most) != most:
        most -= 1
    return most


def _cut(groups: Sequence[tuple[int, int]]) -> list[int]:
    """Where to cut rows that are sorted by length; `groups` are lengths and numbers of rows.

    Returns the number of rows of each part.
    """
    best: list[tuple[int, list[int]]] = [(0, [])]
    for end in range(1, len(groups) + 1):
        longest = groups[end - 1][0]
        num_rows = 0
        choices = []
        for start in range(end - 1, -1, -1):
            num_rows += groups[start][1]
            cost, parts = best[start]
            choices.append((cost + num_rows * longest + INFERENCE_OVERHEAD, parts, num_rows))
        cost, parts, num_rows = min(choices, key=lambda choice: choice[0])
        best.append((cost, [*parts, num_rows]))
    return best[-1][1]


def _round_up(number: int, steps_per_octave: int, smallest_step: int) -> int:
    octave = 1 << (number - 1).bit_length() >> 1
    step = max(smallest_step, octave // steps_per_octave)
    return -(-number // step) * step
