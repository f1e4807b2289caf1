"""Lets a prompt wait for a prefix that another one is reading, instead of reading it too."""

from collections import defaultdict
from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

from server.engine.sequence import Sequence, SequenceStatus

Start = tuple[bytes, bytes]
"""The cache salt and the first block of tokens: prompts that share anything share these."""

Followers = list[tuple[int, int, Sequence]]
"""A heap, shortest first, of what waits for the same prefix; some may wait no longer."""


class AwaitedPrefix(NamedTuple):
    """The first `num_tokens` tokens of a running sequence, which will be cached once computed."""

    reader: Sequence
    num_tokens: int

    @property
    def is_over(self) -> bool:
        """Whether the wait has ended: the prefix was computed, or will not be soon."""
        is_running = self.reader.status is SequenceStatus.RUNNING
        return not is_running or self.reader.num_computed_tokens >= self.num_tokens


class PrefixSharing:
    """Which waiting sequences wait for a prefix, and for which.

    They only wait for running sequences, which do not wait themselves: there is no deadlock. They
    do not wait for a sequence of a higher priority number, which may be read late.
    """

    def __init__(self, block_size: int, enable_prefix_caching: bool) -> None:
        self._block_size = block_size
        self._is_enabled = enable_prefix_caching
        self._awaited: dict[Sequence, AwaitedPrefix] = {}
        self._followers: dict[Sequence, dict[AwaitedPrefix, Followers]] = {}
        self._readers: dict[Start, list[Sequence]] = {}
        self._order = count()

    def set_readers(self, running: Iterable[Sequence]) -> None:
        """Name the running sequences whose prefixes can be waited for."""
        self._readers = defaultdict(list)
        for sequence in running:
            self.add_reader(sequence)

    def add_reader(self, sequence: Sequence) -> None:
        """Add a sequence that has started."""
        if (
            self._is_enabled
            and self._full_blocks(sequence.num_tokens) > sequence.num_computed_tokens
        ):
            self._readers[self._start(sequence)].append(sequence)

    def wait(self, sequence: Sequence, num_cached: int) -> bool:
        """Let a sequence wait if a reader computes more of its prefix than its cached tokens.

        False if none does. A sequence that needs the logits of its prompt reads all of it itself.
        """
        if not self._readers or sequence.unread_prompt_logprobs is not None:
            return False
        found = [
            AwaitedPrefix(reader, num_shared)
            for reader in self._readers.get(self._start(sequence), ())
            if (num_shared := self._num_shared(sequence, reader)) > num_cached
        ]
        if not found:
            return False
        awaited = max(found, key=lambda awaited: awaited.num_tokens)
        self._awaited[sequence] = awaited
        groups = self._followers.setdefault(awaited.reader, {})
        place = (sequence.num_tokens, next(self._order), sequence)
        heappush(groups.setdefault(awaited, []), place)
        return True

    def release(self) -> list[Sequence]:
        """End the waits that are over; returns the sequences that waited."""
        released = []
        for reader, groups in list(self._followers.items()):
            for awaited in [awaited for awaited in groups if awaited.is_over]:
                for _, _, sequence in groups.pop(awaited):
                    if self._awaited.get(sequence) == awaited:
                        del self._awaited[sequence]
                        released.append(sequence)
            if not groups:
                del self._followers[reader]
        return released

    def num_awaited_tokens(self, reader: Sequence) -> int | None:
        """Tokens until the shortest prompt that waits for a reader is read; None if none waits."""
        lengths = []
        for awaited, followers in self._followers.get(reader, {}).items():
            while followers and self._awaited.get(followers[0][-1]) != awaited:
                heappop(followers)
            if followers and not awaited.is_over:
                lengths.append(followers[0][0])
        return min(lengths) - reader.num_computed_tokens if lengths else None

    def forget(self, sequence: Sequence) -> None:
        """The sequence is not waiting any more."""
        self._awaited.pop(sequence, None)

    def _start(self, sequence: Sequence) -> Start:
        first_block = sequence.token_ids.view(0, self._block_size)
        return sequence.prefix_salt, first_block.tobytes()

    def _full_blocks(self, num_tokens: int) -> int:
        """The tokens that are in full blocks."""
        return num_tokens // self._block_size * self._block_size

    def _num_shared(self, sequence: Sequence, reader: Sequence) -> int:
        """Common tokens in full blocks; 0 if the reader has computed all of them."""
        if reader.request.priority > sequence.request.priority:
            return 0
        # At least one token stays to be computed, for its logits.
        end = self._full_blocks(min(sequence.num_tokens - 1, reader.num_tokens))
        if end <= reader.num_computed_tokens:
            return 0
        differences = sequence.token_ids.view(0, end) != reader.token_ids.view(0, end)
        num_equal = int(differences.argmax()) if differences.any() else end
        num_shared = self._full_blocks(num_equal)
        return num_shared if num_shared > reader.num_computed_tokens else 0
