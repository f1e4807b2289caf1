"""NgramIndex against a search through the whole text."""

from itertools import pairwise

import numpy as np
import pytest

from server.engine.speculation import ngram_index
from server.engine.speculation.ngram_index import NOWHERE, NgramIndex


def search(tokens: list[int], shortest: int, longest: int) -> tuple[int, int]:
    """The place with the longest match, and of equal ones the latest; its capped length."""
    best = (NOWHERE, 0)
    for place in range(1, len(tokens)):
        length = 0
        while length < min(place, longest) and tokens[place - 1 - length] == tokens[-1 - length]:
            length += 1
        if length >= shortest and length >= best[1]:
            best = (place, length)
    return best


def texts() -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, size, 120).tolist() for size in (1, 2, 3, 8, 30)]


@pytest.mark.parametrize("shortest", [1, 2])
@pytest.mark.parametrize("num_at_once", [0, 1, 2, 50])
def test_every_match_is_the_longest(
    shortest: int, num_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ngram_index, "MAX_CANDIDATES", 1000)
    for text in texts():
        index = NgramIndex(np.array(text[:num_at_once], np.int64), shortest, 6)
        for size in range(num_at_once, len(text)):
            place, length = search(text[:size], shortest, 6)
            assert min(index.length, 6) == length
            assert (index.place == NOWHERE) == (place == NOWHERE)
            if place != NOWHERE:
                # A match that goes on stays where it is.
                found = text[index.place - length : index.place]
                assert found == text[size - length : size]
                assert index.place < size
            index.append(text[size])
            assert index.size == size + 1


def test_the_latest_of_equal_matches_is_found() -> None:
    index = NgramIndex(np.array([1, 2, 3, 1, 2, 4, 1, 2, 5, 9, 1, 2]), 2, 4)
    assert (index.expected, index.length) == (5, 2)


def test_a_longer_match_is_preferred() -> None:
    index = NgramIndex(np.array([7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2]), 2, 4)
    assert (index.expected, index.length) == (3, 3)


@pytest.mark.parametrize("size", [1, 2])
def test_tokens_may_come_together(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram_index, "MAX_CANDIDATES", 1000)
    rng = np.random.default_rng(1)
    for text in texts():
        together, singly = (NgramIndex(np.array([], np.int64), size, 8) for _ in range(2))
        cuts = [0, *sorted(rng.integers(0, len(text), 6).tolist()), len(text)]
        for begin, end in pairwise(cuts):
            together.extend(text[begin:end])
            for token in text[begin:end]:
                singly.append(token)
            assert together.size == singly.size == end
            assert min(together.length, 8) == min(singly.length, 8)


def test_a_loop_is_continued_beyond_the_end() -> None:
    index = NgramIndex(np.array([5, 1, 2, 3, 1, 2, 3]), 2, 4)
    assert index.continuation(8) == [1, 2, 3, 1, 2, 3, 1, 2]
    assert index.continuation(2) == [1, 2]
