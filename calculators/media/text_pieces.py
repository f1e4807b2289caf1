"""Long texts in pieces that a speech model can speak."""

import re
from collections.abc import Iterator

__all__ = ["split_text"]

# The second part has the marks of Chinese and Japanese, which no blank follows.
SENTENCE_END = re.compile("(?<=[.!?;:\u2026])\\s+|(?<=[\u3002\uff01\uff1f\uff1b])")


def split_text(text: str, most: int) -> list[str]:
    """Pieces of at most `most` characters, as long as possible, with no blanks around them.

    They end with sentences where they can, else with words. A longer word is cut.
    """
    pieces: list[str] = []
    for part in _parts(text, most):
        joined = f"{pieces[-1]} {part}" if pieces else part
        if pieces and len(joined) <= most:
            pieces[-1] = joined
        else:
            pieces.append(part)
    return pieces


def _parts(text: str, most: int) -> Iterator[str]:
    """Sentences; where one is too long, its words, and the pieces of a word that is too long."""
    for sentence in filter(None, SENTENCE_END.split(text.strip())):
        if len(sentence) <= most:
            yield sentence
            continue
        for word in sentence.split():
            yield from (word[i : i + most] for i in range(0, len(word), most))
