"""Names of special tokens that clients write, kept apart from those that the chat template writes.

A mark inside each name goes through the template with it. The tokenizer looks for special tokens
first, and drops the marks then, see calculators/text/text_encoder.py.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

__all__ = ["MARK", "PlainNames", "restore_marks"]

# Noncharacters, which no text has; together, as a client might send one of them.
MARK = "\ufdd0\ufdd1"
# As JSON in ASCII and Python's repr write it.
ESCAPED_MARK = "\\ufdd0\\ufdd1"


class PlainNames:
    """Marks names of special tokens in texts of a client.

    The parts of a name may be at the ends of two texts that a template joins. So the beginning of a
    name at the end of a text is marked as well, and the end of a name at its beginning.
    """

    def __init__(self, names: Collection[str]) -> None:
        names = {name.strip() for name in names} - {""}
        self._longest = max(map(len, names), default=0)
        whole = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
        # A lookahead finds names that overlap, too.
        self._whole = re.compile(f"(?={whole})") if names else None
        self._beginnings = {name[:i] for name in names for i in range(1, len(name))}
        self._ends = {name[i:] for name in names for i in range(1, len(name))}

    def mark(self, value: Any) -> Any:
        """A JSON value with marks in all its texts, the keys of objects included."""
        if isinstance(value, str):
            return self._mark_text(value)
        if isinstance(value, Mapping):
            return {self.mark(key): self.mark(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.mark(item) for item in value]
        return value

    def _mark_text(self, text: str) -> str:
        places = sorted(set(self._places(text)))
        if not places:
            return text
        return MARK.join(
            text[begin:end] for begin, end in zip([0, *places], [*places, None], strict=True)
        )

    def _places(self, text: str) -> Iterator[int]:
        if self._whole is not None:
            for found in self._whole.finditer(text):
                yield found.start() + 1
        for size in range(1, min(self._longest, len(text) + 1)):
            if text[-size:] in self._beginnings:
                yield len(text) - size + 1
            if text[:size] in self._ends:
                yield 1 if size > 1 else 0


def restore_marks(text: str) -> str:
    """The text of a template, with marks that it wrote as escapes."""
    return text.replace(ESCAPED_MARK, MARK)
