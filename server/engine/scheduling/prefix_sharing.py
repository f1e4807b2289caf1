"""Lets a prompt wait for a prefix which another one is just reading, instead of reading it too."""

from collections.abc import Iterable
from dataclasses import dataclass

from server.engine.sequence import Sequence, SequenceStatus


@dataclass(frozen=True, slots=True)
class AwaitedPrefix:
    """The first `num_tokens` tokens of a running sequence, which its reading will make findable."""

    reader: Sequence
    num_tokens: int

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to wait for: it was read, or will not be soon."""
        is_running = self.reader.status is SequenceStatus.RUNNING
        return not is_running or self.reader.num_computed_tokens >= self.num_tokens


class PrefixSharing:
    """Which waiting sequences wait for a prefix, and for which.

    Only running sequences are waited for, and these wait for nobody, so that there is no circle.
    One of a higher priority number is not: it may be read late.
    """

    def __init__(self, block_size: int, enable_prefix_caching: bool) -> None:
        self._block_size = block_size
        self._is_enabled = enable_prefix_caching
        self._awaited: dict[Sequence, AwaitedPrefix] = {}

    def is_waiting(self, sequence: Sequence) -> bool:
        """Whether what the sequence was told to wait for is still to come."""
        awaited = self._awaited.get(sequence)
        if awaited is not None and awaited.is_over:
            del self._awaited[sequence]
            return False
        return awaited is not None

    def wait(self, sequence: Sequence, num_cached: int, running: Iterable[Sequence]) -> bool:
        """Let a sequence wait if one of `running` reads what begins it beyond its cached tokens.

        False if there is none; what needs the logits of its prompt reads all of it by itself.
        """
        if not self._is_enabled or sequence.unread_prompt_logprobs is not None:
            return False
        found = [
            AwaitedPrefix(reader, num_shared)
            for reader in running
            if (num_shared := self._num_shared(sequence, reader)) > num_cached
        ]
        if not found:
            return False
        self._awaited[sequence] = max(found, key=lambda awaited: awaited.num_tokens)
        return True

    def num_awaited_tokens(self, reader: Sequence) -> int | None:
        """Tokens which the nearest of those that wait for a reader needs; None if nobody waits."""
        waiting = [
            sequence.num_tokens
            for sequence, awaited in self._awaited.items()
            if awaited.reader is reader and not awaited.is_over
        ]
        return min(waiting) - reader.num_computed_tokens if waiting else None

    def forget(self, sequence: Sequence) -> None:
        """The sequence is not waiting any more."""
        self._awaited.pop(sequence, None)

    def _num_shared(self, sequence: Sequence, reader: Sequence) -> int:
        """Tokens at the start of both, in full blocks, which the reader has not all read yet."""
        mine, theirs = sequence.request, reader.request
        if mine.cache_salt != theirs.cache_salt or theirs.priority > mine.priority:
            return 0
        # At least one token stays to be computed, for its logits.
        end = min(sequence.num_tokens - 1, reader.num_tokens) // self._block_size * self._block_size
        if end <= reader.num_computed_tokens or reader.token_ids[0] != sequence.token_ids[0]:
            return 0
        differences = sequence.token_ids.view(0, end) != reader.token_ids.view(0, end)
        num_equal = int(differences.argmax()) if differences.any() else end
        num_shared = num_equal // self._block_size * self._block_size
        return num_shared if num_shared > reader.num_computed_tokens else 0
