"""Keeps the objects of a JSON answer from having a key twice, which a grammar cannot say."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from calculators.text.byte_table import ByteTable

__all__ = ["KeyState", "QuoteTokens"]

Ints = npt.NDArray[np.int64]

QUOTE, BACKSLASH, COMMA = b'"\\,'
OPENING, CLOSING = b"{[", b"}]"


@dataclass(frozen=True, slots=True)
class _Container:
    """An open object with its keys so far, or an open array."""

    is_object: bool
    keys: frozenset[bytes] = frozenset()
    expects_key: bool = False


@dataclass(frozen=True, slots=True)
class KeyState:
    """Where in a JSON text an answer is. `key` is the part of a key that is being written.

    Text outside of brackets has no meaning, so that tool calls may stand in their family's frame.
    """

    containers: tuple[_Container, ...] = ()
    key: bytes | None = None
    is_in_string: bool = False
    is_escaped: bool = False
    has_repeated: bool = False

    @property
    def has_keys(self) -> bool:
        """Whether an open object has a key that could come again."""
        return any(container.keys for container in self.containers)

    def after(self, text: bytes) -> "KeyState":
        """The state after more text."""
        state = self
        for byte in text:
            state = state._in_string(byte) if state.is_in_string else state._outside(byte)
        return state

    def _in_string(self, byte: int) -> "KeyState":
        if self.is_escaped or byte != QUOTE:
            is_escaped = byte == BACKSLASH and not self.is_escaped
            key = None if self.key is None else self.key + bytes([byte])
            if is_escaped == self.is_escaped and key is None:
                return self
            return replace(self, key=key, is_escaped=is_escaped)
        if self.key is None:
            return replace(self, is_in_string=False)
        top = self.containers[-1]
        known = replace(top, keys=top.keys | {self.key}, expects_key=False)
        return replace(
            self,
            containers=(*self.containers[:-1], known),
            key=None,
            is_in_string=False,
            has_repeated=self.has_repeated or self.key in top.keys,
        )

    def _outside(self, byte: int) -> "KeyState":
        if byte == QUOTE:
            is_key = bool(self.containers) and self.containers[-1].expects_key
            return replace(self, is_in_string=True, key=b"" if is_key else None)
        if byte in OPENING:
            is_object = byte == OPENING[0]
            inner = _Container(is_object, expects_key=is_object)
            return replace(self, containers=(*self.containers, inner))
        if byte in CLOSING:
            return replace(self, containers=self.containers[:-1])
        if byte == COMMA and self.containers and self.containers[-1].is_object:
            top = replace(self.containers[-1], expects_key=True)
            return replace(self, containers=(*self.containers[:-1], top))
        return self


class QuoteTokens:
    """The tokens of a model that can end a key: those with a quotation mark in `table`."""

    def __init__(self, table: ByteTable, vocab_size: int) -> None:
        self.table = table
        with_quote = ((table.lookup(i), i) for i in range(vocab_size))
        self._tokens = sorted((text, i) for text, i in with_quote if b'"' in text)
        # Such a token can hold a whole key: with two marks outside of a string, three inside.
        self._with_two = [(text, i) for text, i in self._tokens if text.count(b'"') >= 2]
        self._with_three = [(text, i) for text, i in self._with_two if text.count(b'"') >= 3]

    def repeating(self, state: KeyState, forbidden: npt.NDArray[np.bool_]) -> Ints:
        """The tokens that would write a key again, as far as they are not forbidden."""
        if not state.has_keys:
            return np.zeros(0, np.int64)
        found = [] if state.key is None else [*self._ending(state.key, state.containers[-1].keys)]
        whole = self._with_three if state.is_in_string else self._with_two
        found += (
            token_id
            for text, token_id in whole
            if not forbidden[token_id] and state.after(text).has_repeated
        )
        return np.array(found, np.int64)

    def _ending(self, start: bytes, keys: frozenset[bytes]) -> Iterator[int]:
        """The tokens that complete what was started to one of the keys."""
        for key in keys:
            if key.startswith(start):
                rest = key[len(start) :] + b'"'
                place = bisect_left(self._tokens, (rest, -1))
                while place < len(self._tokens) and self._tokens[place][0].startswith(rest):
                    yield self._tokens[place][1]
                    place += 1
