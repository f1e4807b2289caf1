import pytest

from server.protocol.token_rows import cut_tokens, pad_tokens

BARE = (10, 11, 12, 13)


@pytest.mark.parametrize(
    ("tokens", "max_length", "expected"),
    [
        (BARE, 4, [10, 11, 12, 13]),
        (BARE, 3, [10, 11, 12]),
        (BARE, 1, [10]),
        ((1, *BARE), 5, [1, 10, 11, 12, 13]),
        ((1, *BARE), 3, [1, 10, 11]),
        ((1, *BARE), 2, [1, 10]),
        ((1, *BARE), 1, [1]),
        ((1, *BARE, 2), 4, [1, 10, 11, 2]),
        ((1, *BARE, 2), 3, [1, 10, 2]),
        ((1, *BARE, 2), 2, [1, 10]),
        ((*BARE, 2), 2, [10, 2]),
        # A tokenizer whose special tokens change the tokens between them.
        ((1, 9, 9, 9, 9), 3, [1, 9, 9]),
    ],
)
def test_cut(tokens: tuple[int, ...], max_length: int, expected: list[int]) -> None:
    assert list(cut_tokens(tokens, BARE, max_length)) == expected


def test_cut_of_an_empty_text() -> None:
    assert list(cut_tokens((1, 2), (), 1)) == [1]
    assert list(cut_tokens((), (), 1)) == []


def test_pad() -> None:
    assert pad_tokens((5, 6), 4, 0, "right") == [5, 6, 0, 0]
    assert pad_tokens((5, 6), 4, 0, "left") == [0, 0, 5, 6]
    assert pad_tokens((5, 6), 2, 0, "left") == [5, 6]
