"""Literals of Python and JSON, as models write them, which follow neither strictly."""

import re
from typing import NoReturn

__all__ = ["LiteralReader"]

MAX_DEPTH = 100

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[^\W\d]\w*")
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_NUMBER = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F]+|(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])"
)
_QUOTE = re.compile(r"(?P<prefix>[rRuU]?)(?P<quote>\"\"\"|'''|\"|')")
_ENDS = {
    quote: (
        re.compile(rf"\\.|{quote}", re.DOTALL),
        re.compile(rf"{quote}(?=\s*(?:[,;:)\]}}]|\Z))"),
    )
    for quote in ('"""', "'''", '"', "'")
}
_ESCAPE = re.compile(
    r"\\(?:(?P<character>[\\'\"/abfnrtv\n])|x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})"
    r"|U(?P<U>00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}))"
)
_CHARACTERS: dict[str, str] = dict(zip("abfnrtv\n", [*"\a\b\f\n\r\t\v", ""], strict=True))


class LiteralReader:
    """Reads values of a whole text, from `position` on; raises ValueError for what is none.

    Strings may have line breaks, and backslashes that begin no escape. Tuples are lists, the keys
    of objects are strings. With `is_lenient` a quote ends a string only if a comma, a bracket or
    the like follows: so `'it's'` is a string, which some chat templates write.
    """

    def __init__(self, text: str, *, is_lenient: bool = False) -> None:
        self.text = text
        self.position = 0
        self._is_lenient = is_lenient
        self._unended: set[str] = set()

    def is_at_end(self) -> bool:
        """Whether only white space is left."""
        self.match(_SPACE)
        return self.position == len(self.text)

    def take(self, text: str) -> bool:
        """Skip white space, and this text if it is next; return whether it is."""
        self.match(_SPACE)
        is_next = self.text.startswith(text, self.position)
        if is_next:
            self.position += len(text)
        return is_next

    def expect(self, text: str) -> None:
        """Like `take`, but the text must be there."""
        if not self.take(text):
            self.fail()

    def match(self, pattern: re.Pattern[str]) -> str | None:
        """Take what the pattern matches here."""
        found = pattern.match(self.text, self.position)
        if found is None:
            return None
        self.position = found.end()
        return found.group()

    def fail(self) -> NoReturn:
        """Raise ValueError for what is here."""
        found = self.text[self.position : self.position + 20]
        raise ValueError(f"unexpected {found!r} at {self.position}")

    def value(self, depth: int = 0) -> object:
        """Read a value that is inside of `depth` others."""
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels")
        if self.take("{"):
            return self.members(depth)
        if self.take("["):
            return self.items("]", depth)[0]
        if self.take("("):
            items, is_tuple = self.items(")", depth)
            return items if is_tuple else items[0]
        text = self.string()
        return self.scalar() if text is None else text

    def members(self, depth: int = 0) -> dict[str, object]:
        """Read the members of an object behind its opening bracket."""
        members = {}
        while not self.take("}"):
            key = self.key()
            self.expect(":")
            members[key] = self.value(depth + 1)
            if not self.take(","):
                self.expect("}")
                break
        return members

    def key(self) -> str:
        """Read the key of an object."""
        self.match(_SPACE)
        text = self.string()
        if text is not None:
            return text
        number = self.match(_NUMBER)
        if number is None:
            self.fail()
        return number

    def string(self) -> str | None:
        """Read a string, or several in a row, which are one in Python."""
        pieces = []
        while (found := _QUOTE.match(self.text, self.position)) is not None:
            pieces.append(self._string(found))
            if self._is_lenient:
                break
            self.match(_SPACE)
        return "".join(pieces) if pieces else None

    def scalar(self) -> object:
        """Read a number or a word."""
        number = self.match(_NUMBER)
        if number is not None:
            return _to_number(number)
        position = self.position
        word = (self.match(_WORD) or "").lower()
        if word not in _WORDS:
            self.position = position
            self.fail()
        return _WORDS[word]

    def items(self, closing: str, depth: int) -> tuple[list[object], bool]:
        """Read the items of a list, and whether it has a comma or none of them."""
        items: list[object] = []
        has_comma = False
        while not self.take(closing):
            items.append(self.value(depth + 1))
            if not self.take(","):
                self.expect(closing)
                break
            has_comma = True
        return items, has_comma or not items

    def _string(self, opening: re.Match[str]) -> str:
        quote = opening["quote"]
        ends = _ENDS[quote][self._is_lenient]
        searched = () if quote in self._unended else ends.finditer(self.text, opening.end())
        for found in searched:
            if found.group() == quote:
                self.position = found.end()
                text = self.text[opening.end() : found.start()]
                return text if opening["prefix"] in ("r", "R") else _unescape(text)
        # A text can have many of them; each search goes up to its end.
        self._unended.add(quote)
        raise ValueError(f"a string without an end at {opening.start()}")


def _to_number(text: str) -> int | float:
    text = text.replace("_", "")
    if "x" in text.lower():
        return int(text, 16)
    if not set(text.lower()) & {".", "e"}:
        return int(text)
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return number


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    text = _ESCAPE.sub(_unescape_one, text)
    # Two escapes of JSON may be one character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unescape_one(found: re.Match[str]) -> str:
    character: str | None = found["character"]
    if character is not None:
        return _CHARACTERS.get(character, character)
    return chr(int(found["x"] or found["u"] or found["U"], 16))
