"""What the KV cache of a draft model holds in each block."""

from collections.abc import Sequence as Rows

import numpy as np
import numpy.typing as npt

from server.engine.kv.kv_cache_manager import BlockCopy
from server.engine.sequence import GrowableArray

NO_DIGEST = 0
ROOT_DIGEST = 1


class TextDigests:
    """The tokens of a text and a number for each full block of them, which stands for all before.

    Equal numbers of different texts are possible; then drafts are bad, and the answer is the same.
    """

    def __init__(self, tokens: GrowableArray, block_size: int) -> None:
        self.tokens = tokens
        self._block_size = block_size
        self._ends = GrowableArray(np.int64)

    def update(self) -> None:
        """Take the tokens that were added since."""
        size = self._block_size
        for start in range(self._ends.size * size, self.tokens.size // size * size, size):
            content = self.tokens.view(start, start + size).tobytes()
            self._ends.append(hash((self.before(start // size), content)) or ROOT_DIGEST)

    def truncate(self) -> None:
        """Forget what comes after the tokens that are left."""
        self._ends.truncate(min(self._ends.size, self.tokens.size // self._block_size))

    def before(self, position: int) -> int:
        """The number of the text before a block."""
        return self._ends[position - 1] if position else ROOT_DIGEST

    def ends(self, count: int) -> npt.NDArray[np.int64]:
        """The numbers at the ends of the first full blocks, at most `count`."""
        return self._ends.view(0, min(count, self._ends.size))


class DraftBlocks:
    """Which tokens each block holds, and after which text.

    The block manager is that of the model: it hands out blocks, shares and reuses them without
    asking whether the draft model has computed anything in them. So each block is compared with the
    text that it should hold.
    """

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self._block_size = block_size
        self._tokens = np.zeros((num_blocks, block_size), np.int32)
        self._counts = np.zeros(num_blocks, np.int32)
        self._befores = np.zeros(num_blocks, np.int64)
        # NO_DIGEST where a block is not full.
        self._ends = np.zeros(num_blocks, np.int64)

    def num_known(self, text: TextDigests, block_table: npt.NDArray[np.int32]) -> int:
        """How many of the first tokens of a text are in the blocks of its table."""
        ends = text.ends(len(block_table))
        is_same = self._ends[block_table[: len(ends)]] == ends
        position = len(ends) if is_same.all() else int(is_same.argmin())
        start = position * self._block_size
        if position == len(block_table):
            return start
        block = block_table[position]
        if self._befores[block] != text.before(position):
            return start
        here = text.tokens.view(start, min(text.tokens.size, start + int(self._counts[block])))
        is_same = self._tokens[block, : len(here)] == here
        return start + (len(here) if is_same.all() else int(is_same.argmin()))

    def note(
        self, text: TextDigests, block_table: npt.NDArray[np.int32], start: int, end: int
    ) -> None:
        """The tokens from `start` to `end` of a text were computed after those before them."""
        size = self._block_size
        for position in range(start // size, -(-end // size)):
            block, first = block_table[position], position * size
            low, high = max(start - first, 0), min(end - first, size)
            self._tokens[block, low:high] = text.tokens.view(first + low, first + high)
            self._counts[block] = high
            self._befores[block] = text.before(position)
            self._ends[block] = text.before(position + 1) if high == size else NO_DIGEST

    def copy(self, copies: Rows[BlockCopy]) -> None:
        """Blocks were copied, (source, destination) in this order."""
        for source, destination in copies:
            for array in (self._tokens, self._counts, self._befores, self._ends):
                array[destination] = array[source]

    def forget(self) -> None:
        """The contents of all blocks are lost."""
        self._counts[:] = 0
        self._ends[:] = NO_DIGEST
