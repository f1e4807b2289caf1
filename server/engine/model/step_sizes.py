"""The few sizes that a step can have, so that all shapes have run before the first request."""

from bisect import bisect_left
from collections.abc import Iterator


class StepSizes:
    """The token counts of steps, in rising order up to `max_num_tokens`, which is the last one.

    The plugin makes its kernels anew for each number of rows that it meets; the first step of a
    size takes tens of milliseconds longer than the next. From 16 on there are eight sizes up to
    the double: every row of padding costs time in all steps, so that fewer sizes are slower.
    """

    def __init__(self, max_num_tokens: int) -> None:
        sizes = [1]
        while sizes[-1] < max_num_tokens:
            distance = max(1, 1 << sizes[-1].bit_length() >> 4)
            sizes.append(min(sizes[-1] + distance, max_num_tokens))
        self.sizes = tuple(sizes)

    def padded(self, num_tokens: int) -> int:
        """The size of a step with `num_tokens` tokens; beyond the largest size, that number."""
        position = bisect_left(self.sizes, num_tokens)
        return self.sizes[position] if position < len(self.sizes) else num_tokens

    def spread(self, max_size: int) -> Iterator[int]:
        """The sizes up to `max_size`, in an order whose beginnings are spread over all of them."""
        sizes = [size for size in self.sizes if size <= max_size]
        stride = 1 << len(sizes).bit_length()
        yield from sorted(sizes, key=lambda size: -_largest_divisor(sizes.index(size), stride))


def _largest_divisor(position: int, stride: int) -> int:
    """The largest power of two that divides a position; `stride` for the first one."""
    return position & -position or stride
