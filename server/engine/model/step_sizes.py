"""The few sizes that steps are padded to, so that all have run before the first request."""

from bisect import bisect_left
from collections.abc import Iterator


class StepSizes:
    """The token counts of steps, ascending; the last one is `max_num_tokens`.

    The plugin makes new kernels for each number of rows, so the first step of a size takes tens of
    milliseconds longer. From 16 on there are eight sizes between a number and its double: with
    fewer, the time that padding costs in every step outweighs what they save.
    """

    def __init__(self, max_num_tokens: int) -> None:
        sizes = [1]
        while sizes[-1] < max_num_tokens:
            distance = max(1, 1 << sizes[-1].bit_length() >> 4)
            sizes.append(min(sizes[-1] + distance, max_num_tokens))
        self.sizes = tuple(sizes)

    def padded(self, num_tokens: int) -> int:
        """The smallest size for `num_tokens` tokens; `num_tokens` itself beyond the largest."""
        position = bisect_left(self.sizes, num_tokens)
        return self.sizes[position] if position < len(self.sizes) else num_tokens

    def spread(self, max_size: int) -> Iterator[int]:
        """The sizes up to `max_size`, ordered so that any first few are spread over all of them."""
        sizes = [size for size in self.sizes if size <= max_size]
        stride = 1 << len(sizes).bit_length()
        yield from sorted(sizes, key=lambda size: -_largest_divisor(sizes.index(size), stride))


def _largest_divisor(position: int, stride: int) -> int:
    """The largest power of two that divides a position; `stride` for the first one."""
    return position & -position or stride
