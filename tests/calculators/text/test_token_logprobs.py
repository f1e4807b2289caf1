"""Tokens of a prompt with their places in its text."""

import pytest

from calculators.text.byte_table import ByteTable
from calculators.text.token_logprobs import DescribedPrompt
from server.payloads import TokenIdLogprobs

EMOJI = "😀".encode()
# 0 is a special token, 1 and 2 are words, 3 to 6 the bytes of an emoji.
TABLE = ByteTable(
    [b"", b" Hello", b" world", *(EMOJI[i : i + 1] for i in range(4))],
    {1: b"Hello", 2: b"world"},
    {0: b"<s>"},
)


def describe(token_ids, text, table=TABLE):
    entries = [TokenIdLogprobs(t, -0.5, ((t, -0.5), (1, -1.0))) for t in token_ids[1:]]
    return tuple(DescribedPrompt(table, token_ids, entries, text))


@pytest.mark.parametrize(
    ("token_ids", "text", "tokens", "offsets"),
    [
        ((1, 2), "Hello world", ["Hello", " world"], [0, 5]),
        ((0, 1, 2), "Hello world", ["<s>", "Hello", " world"], [0, 0, 5]),
        ((1, 0), "Hello", ["Hello", "<s>"], [0, 5]),
        ((1, 0, 2), "Hello<s> world", ["Hello", "<s>", " world"], [0, 5, 8]),
        ((0, 1), "<s> Hello", ["<s>", " Hello"], [0, 3]),
        ((1, 3, 4, 5, 6, 2), "Hello😀 world", ["Hello", *["\ufffd"] * 4, " world"],
         [0, 5, 5, 5, 5, 6]),
        ((0,), "", ["<s>"], [0]),
        # The text differs from that of the tokens: no place is beyond its end.
        ((1, 2, 2), "HELLO", ["Hello", " world", " world"], [0, 5, 5]),
    ],
)  # fmt: skip
def test_places(token_ids, text, tokens, offsets):
    described = describe(token_ids, text)
    assert [entry.token for entry in described] == tokens
    assert [entry.text_offset for entry in described] == offsets
    assert [entry.token_id for entry in described] == list(token_ids)


def test_the_first_token_has_no_log_probability():
    first, second = describe((1, 2), "Hello world")
    assert (first.logprob, first.top) == (None, ())
    assert second.logprob == -0.5
    assert [(top.token, top.logprob) for top in second.top] == [(" world", -0.5), (" Hello", -1.0)]
