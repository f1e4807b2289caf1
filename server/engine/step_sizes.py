"""The few sizes that a step can have, so that all shapes have run before the first request."""

from bisect import bisect_left


class StepSizes:
    """The token counts of steps, in rising order up to `max_num_tokens`, which is the last one.

    The plugin makes its kernels anew for each number of rows that it meets; the first step of a
    size takes tens of milliseconds longer than the next. Padding costs little where it stays within
    the tiles of a matrix unit, of 16 or 32 rows.
    """

    def __init__(self, max_num_tokens: int) -> None:
        sizes = [1]
        while sizes[-1] < max_num_tokens:
            sizes.append(min(sizes[-1] + _distance_from(sizes[-1]), max_num_tokens))
        self.sizes = tuple(sizes)

    def padded(self, num_tokens: int) -> int:
        """The size of a step with `num_tokens` tokens; beyond the largest size, that number."""
        position = bisect_left(self.sizes, num_tokens)
        return self.sizes[position] if position < len(self.sizes) else num_tokens


def _distance_from(size: int) -> int:
    """How far above `size` the next one is: at most an eighth from 256 on."""
    if size < 8:
        return size
    if size < 32:
        return 8
    if size < 64:
        return 16
    return max(32, 1 << (size.bit_length() - 4))
