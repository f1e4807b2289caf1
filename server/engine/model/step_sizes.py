"""The few sizes that steps are padded to, so that each soon has run before."""

from collections.abc import Mapping
from itertools import pairwise


class StepSizes:
    """The token counts of steps, ascending; the last one is `max_num_tokens`.

    The plugin makes new kernels for each number of rows, so the first step of a size takes tens of
    milliseconds longer. From 16 on there are eight sizes between a number and its double: with
    fewer, the time that padding costs in every step outweighs what they save.

    `stand_ins` are larger sizes that have run, by those that have not and are padded to them.
    """

    def __init__(self, max_num_tokens: int) -> None:
        sizes = [1]
        while sizes[-1] < max_num_tokens:
            distance = max(1, 1 << sizes[-1].bit_length() >> 4)
            sizes.append(min(sizes[-1] + distance, max_num_tokens))
        self.sizes = tuple(sizes)
        # Looked up often.
        gaps = [size - before for before, size in pairwise((-1, *sizes))]
        self._own = [size for size, gap in zip(sizes, gaps, strict=True) for _ in range(gap)]
        self.stand_ins: Mapping[int, int] = {}

    def own_size(self, num_tokens: int) -> int:
        """The smallest size for `num_tokens` tokens; `num_tokens` itself beyond the largest."""
        return self._own[num_tokens] if num_tokens < len(self._own) else num_tokens

    def padded(self, num_tokens: int) -> int:
        """The size that a step of `num_tokens` tokens is padded to."""
        size = self.own_size(num_tokens)
        return self.stand_ins.get(size, size)
