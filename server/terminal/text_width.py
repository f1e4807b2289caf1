"""Text in columns of a terminal, where some characters take two places and others none."""

import unicodedata

__all__ = ["fit", "printable", "text_width"]

ELLIPSIS = ".."


def printable(text: str) -> str:
    """The text without characters that could move the cursor or change colours."""
    return "".join(c if c.isprintable() else "?" for c in text)


def text_width(text: str) -> int:
    """How many columns the text takes."""
    return sum(map(_width, text))


def fit(text: str, width: int, *, is_number: bool = False) -> str:
    """The text in exactly so many columns: cut at its end, or filled with spaces.

    Numbers stand at the right.
    """
    if text_width(text) > width:
        text = _cut(text, width - len(ELLIPSIS)) + ELLIPSIS if width > 4 else _cut(text, width)
    padding = " " * (width - text_width(text))
    return padding + text if is_number else text + padding


def _cut(text: str, width: int) -> str:
    taken = 0
    for position, character in enumerate(text):
        taken += _width(character)
        if taken > width:
            return text[:position]
    return text


def _width(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
