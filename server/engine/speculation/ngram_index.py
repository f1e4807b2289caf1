"""Finds where the last tokens of a growing text have occurred before, in constant time a token."""

import numpy as np
import numpy.typing as npt

from server.engine.sequence import GrowableArray

MAX_CANDIDATES = 16
"""Earlier places of the same n-gram that are compared, the latest first."""

NOWHERE = -1


class NgramIndex:
    """A text and the place before its end whose context is most like that of the end.

    `place` is the position that followed the longest earlier occurrence of the last tokens, and
    `length` how many tokens are the same before it; among equal lengths the latest one. `place` is
    NOWHERE where fewer than `shortest` tokens occurred before. At most `longest` are compared.

    Each n-gram of `shortest` tokens is known by its latest place, and each place by the one before
    it with the same n-gram. A match that goes on with the next token needs no search. This is what
    a suffix automaton would find, with some 50 bytes for each token of a prompt.
    """

    def __init__(self, tokens: npt.NDArray[np.int64], shortest: int, longest: int) -> None:
        self._tokens = GrowableArray(np.int64, tokens)
        self._shortest, self._longest = shortest, longest
        self._latest: dict[int, int] = {}
        self._keys, self._places, before = _index(tokens, shortest)
        self._before = GrowableArray(np.int64, before)
        self.place, self.length = NOWHERE, 0
        if len(tokens) >= shortest:
            self._search(self._before[len(tokens)])

    @property
    def size(self) -> int:
        """The number of tokens."""
        return self._tokens.size

    @property
    def expected(self) -> int | None:
        """The token that follows the match; None without one."""
        return None if self.place == NOWHERE else self._tokens[self.place]

    def append(self, token: int) -> None:
        """Add the next token."""
        goes_on = self.place != NOWHERE and self._tokens[self.place] == token
        self._insert([token])
        if goes_on:
            self.place += 1
            self.length += 1
        else:
            self._search(self._before[self.size])

    def extend(self, tokens: list[int]) -> None:
        """Add tokens; the match is looked for at the end of all."""
        self._insert(tokens)
        self._search(self._before[self.size])

    def continuation(self, count: int) -> list[int]:
        """The next `count` tokens after the match; a text that ends repeats what follows it."""
        assert self.place != NOWHERE, "there is a match"
        known = self._tokens.view(self.place)[:count]
        return list(np.resize(known, count).tolist())

    def _insert(self, tokens: list[int]) -> None:
        first = max(self.size + 1, self._shortest)
        self._tokens.extend(tokens)
        missing = self._shortest - 1 - (self._before.size - 1)
        self._before.extend([NOWHERE] * min(max(0, missing), len(tokens)))
        keys = _keys(self._tokens.view(first - self._shortest), self._shortest)
        for end, key in enumerate(keys.tolist(), first):
            before = self._latest.get(key)
            self._before.append(self._initial_place(key) if before is None else before)
            self._latest[key] = end

    def _initial_place(self, key: int) -> int:
        """The latest place of an n-gram in the tokens that the index began with."""
        found = int(self._keys.searchsorted(key))
        if found < len(self._keys) and self._keys[found] == key:
            return int(self._places[found])
        return NOWHERE

    def _search(self, candidate: int) -> None:
        """Choose among the earlier places of the last n-gram, from the latest one on."""
        self.place, self.length = NOWHERE, 0
        for _ in range(MAX_CANDIDATES):
            if candidate == NOWHERE or self.length >= self._longest:
                return
            length = self._num_common(candidate)
            if length > self.length:
                self.place, self.length = candidate, length
            candidate = self._before[candidate]

    def _num_common(self, place: int) -> int:
        """How many tokens before a place are those before the end."""
        count = min(place, self._longest)
        here = self._tokens.view(self._tokens.size - count)
        differences = (here != self._tokens.view(place - count, place))[::-1]
        return int(differences.argmax()) if differences.any() else count


def _keys(tokens: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """A number for each n-gram of one or two token ids, which are below 2**31."""
    return tokens if size == 1 else tokens[:-1] << 31 | tokens[1:]


def _index(
    tokens: npt.NDArray[np.int64], size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The keys of all n-grams in order, the latest place of each, and the place before each place.

    A place is the position after an n-gram, and NOWHERE stands for none.
    """
    before = np.full(len(tokens) + 1, NOWHERE, np.int64)
    if len(tokens) < size:
        none = np.zeros(0, np.int64)
        return none, none, before
    keys = _keys(tokens, size)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    is_same = ordered[1:] == ordered[:-1]
    before[order[1:][is_same] + size] = order[:-1][is_same] + size
    is_last = np.append(~is_same, True)
    return ordered[is_last], order[is_last] + size, before
