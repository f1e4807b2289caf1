"""Which beginnings of prompts a replica has worked on, as hashes."""

from collections import OrderedDict
from collections.abc import Sequence

__all__ = ["PrefixIndex"]

# Of 128 characters each: the prompts of about four million tokens, in some 10 MB.
MAX_HASHES = 2**17


class PrefixIndex:
    """The newest hashes; each stands for all of a prompt up to some point."""

    def __init__(self, max_hashes: int = MAX_HASHES) -> None:
        self._max_hashes = max_hashes
        self._hashes: OrderedDict[int, None] = OrderedDict()

    def __contains__(self, value: int) -> bool:
        return value in self._hashes

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, hashes: Sequence[int]) -> None:
        """Note the hashes of a prompt, from its beginning to its end."""
        # The beginning is the newest: without it the rest cannot be found.
        for value in reversed(hashes):
            self._hashes[value] = None
            self._hashes.move_to_end(value)
        while len(self._hashes) > self._max_hashes:
            self._hashes.popitem(last=False)

    def count_shared(self, hashes: Sequence[int]) -> int:
        """How many of the hashes, from the beginning, are known."""
        for index, value in enumerate(hashes):
            if value not in self._hashes:
                return index
        return len(hashes)

    def clear(self) -> None:
        """Forget all, as a process does that was started again."""
        self._hashes.clear()
