"""Texts that are too long for a speech model."""

import pytest

from calculators.media.text_pieces import split_text


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One. Two! Three?", ["One. Two!", "Three?"]),
        ("One.\n\nTwo.", ["One. Two."]),
        ("no sentence ends here", ["no", "sentence", "ends here"]),
        ("abcdefghijklmnopqrstuvw", ["abcdefghij", "klmnopqrst", "uvw"]),
        ("一。二。三。四五六七八九十。", ["一。 二。 三。", "四五六七八九十。"]),
        ("  ", []),
        ("a 3.14 b", ["a 3.14 b"]),
    ],
)
def test_pieces_end_with_sentences_else_with_words(text: str, pieces: list[str]) -> None:
    assert split_text(text, 10) == pieces


def test_nothing_is_lost() -> None:
    text = "Every night a fox looked for a shell, but it was never there. " * 60
    pieces = split_text(text, 598)
    assert " ".join(pieces) == text.strip()
    assert all(300 < len(piece) <= 598 for piece in pieces[:-1])
