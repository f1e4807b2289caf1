"""Which of several answers are the best."""

import pytest

from calculators.llm.best_of import BestOf
from server.payloads import TextChunk, TokenLogprobs


def chunk(index, text, *logprobs, finish_reason=None):
    entries = tuple(TokenLogprobs("x", b"x", logprob) for logprob in logprobs)
    return TextChunk(index, text, 1, 1, 0, entries, finish_reason)


def best(num_wanted, chunks, shows_logprobs=False):
    best_of = BestOf(num_wanted, shows_logprobs)
    for each in chunks:
        best_of.add(each)
    return list(best_of.take())


CHUNKS = [
    chunk(0, "a", -1.0, -1.0, -1.0, -1.0),
    chunk(1, "b", -3.0),
    chunk(2, "c", -0.5),
    chunk(0, "A", finish_reason="stop"),
    chunk(1, "B", finish_reason="stop"),
    chunk(2, "C", -0.5, finish_reason="length"),
]


@pytest.mark.parametrize(("num_wanted", "texts"), [(1, "cC"), (2, "cCaA"), (3, "cCaAbB")])
def test_the_best_come_first_by_their_log_probability_per_token(num_wanted, texts):
    found = best(num_wanted, CHUNKS)
    assert "".join(each.text for each in found) == texts
    assert [each.index for each in found] == [i // 2 for i in range(2 * num_wanted)]
    assert {each.logprobs for each in found} == {None}


def test_log_probabilities_stay_where_the_client_wants_them():
    assert [len(each.logprobs) for each in best(1, CHUNKS, shows_logprobs=True)] == [1, 1]


def test_of_equal_ones_the_first_wins_and_an_empty_one_is_last():
    chunks = [chunk(0, ""), chunk(1, "b", -9.0), chunk(2, "c", -9.0)]
    assert [each.text for each in best(3, chunks)] == ["b", "c", ""]
