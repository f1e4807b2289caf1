"""Finds the fields of a text protobuf without knowing their types.

protobuf's text_format stops at the first mistake, and knows only one type for each options name.
So a graph.pbtxt is cut into nodes and options blocks here, and text_format parses each piece with
its own type. Positions are those in the whole text.
"""

import bisect
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf import text_format
from google.protobuf.message import Message

from server.graph.config import Position

__all__ = ["Body", "Field", "ParseProblem", "SourceText"]

# text_format accepts any other escape, too, and only writes a warning to Python's log.
_ESCAPE = r"""\\(?:[abfnrtvxuU\\'"]|[0-3][0-7]{2}|[0-7]{1,2}(?![0-7]))"""
_TOKEN = re.compile(
    r"""\s+|\#[^\n]*"""
    rf"""|(?P<string>"(?:[^"\\\n]|{_ESCAPE})*"|'(?:[^'\\\n]|{_ESCAPE})*')"""
    r"""|(?P<mark>[{}<>\[\],;:])"""
    r"""|(?P<word>[^\s\#"'{}<>\[\],;:]+)"""
)
_OPEN = {"{": "}", "<": ">", "[": "]"}


class ParseProblem(Exception):
    """A mistake in the text, and its place."""

    def __init__(self, position: Position, message: str) -> None:
        super().__init__(message)
        self.position = position
        self.message = message


@dataclass(frozen=True)
class _Token:
    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Body:
    """The tokens between a pair of braces: from `first` up to, not including, `last`."""

    first: int
    last: int


@dataclass(frozen=True)
class Field:
    """A field and its place; `bodies` are its messages, several for a list.

    `name` has no blanks. The name of an extension or a type is in brackets, as it was written.
    """

    name: str
    start: int
    end: int
    bodies: tuple[Body, ...]


class SourceText:
    """A text protobuf, which is cut into fields where that is needed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def position(self, offset: int) -> Position:
        """Return the line and column of a character."""
        line = bisect.bisect_right(self._line_starts, offset)
        return Position(line, offset - self._line_starts[line - 1] + 1)

    @functools.cached_property
    def whole(self) -> Body:
        """The whole text."""
        return Body(0, len(self._tokens))

    def fields(self, body: Body) -> list[Field]:
        """Cut one level into its fields; raises ParseProblem."""
        fields = []
        at = body.first
        while at < body.last:
            field, at = self._field(at, body.last)
            fields.append(field)
        return fields

    def parse(self, body: Body, message: Message, left_out: Sequence[Field] = ()) -> None:
        """Parse the text of `body` into `message`, without `left_out`; raises ParseProblem."""
        if body == self.whole:
            start, end = 0, len(self.text)
        else:
            start = self._tokens[body.first - 1].end
            end = self._tokens[body.last].start
        self.parse_range(start, end, message, left_out)

    def parse_range(
        self, start: int, end: int, message: Message, left_out: Sequence[Field] = ()
    ) -> None:
        """Parse the text from `start` to `end` as `parse` does."""
        pieces = []
        at = start
        for field in left_out:
            blank = re.sub(r"[^\n]", " ", self.text[field.start : field.end])
            pieces += [self.text[at : field.start], blank]
            at = field.end
        pieces.append(self.text[at:end])
        piece = "".join(pieces)
        try:
            text_format.Parse(piece, message)
        except text_format.ParseError as error:
            raise self._problem(error, start, piece) from None

    def _problem(self, error: text_format.ParseError, start: int, piece: str) -> ParseProblem:
        origin = self.position(start)
        line, column = error.GetLine() or 1, error.GetColumn() or 1
        message = str(error)
        prefix = f"{line}:{column} : "
        message = message.removeprefix(prefix)
        lines = piece.split("\n")
        if line <= len(lines):
            message = message.removeprefix(f"'{lines[line - 1]}': ").removeprefix("'': ")
        if line == 1:
            column += origin.column - 1
        position = Position(origin.line + line - 1, column)
        if message.startswith("Expected"):
            message = f"{message.rstrip('.')}; found {self._found_at(position)}"
        return ParseProblem(position, message)

    def _found_at(self, position: Position) -> str:
        start = self._line_starts[min(position.line, len(self._line_starts)) - 1]
        found = self.text[start : start + position.column + 40][position.column - 1 :]
        words = found.split()
        return repr(words[0]) if words else "the end"

    @functools.cached_property
    def _tokens(self) -> list[_Token]:
        tokens = []
        at = 0
        while at < len(self.text):
            match = _TOKEN.match(self.text, at)
            if match is None:
                raise self._mistake(
                    at, "a string does not end on its line, or has an unknown escape"
                )
            if match.lastgroup is not None:
                kind = match.group() if match.lastgroup == "mark" else match.lastgroup
                tokens.append(_Token(kind, match.start(), match.end()))
            at = match.end()
        return tokens

    @functools.cached_property
    def _closers(self) -> dict[int, int]:
        """Index of each opening bracket -> index of the one that closes it."""
        closers = {}
        opened: list[int] = []
        for index, token in enumerate(self._tokens):
            if token.kind in _OPEN:
                opened.append(index)
            elif token.kind in _OPEN.values():
                if not opened:
                    raise self._mistake(token.start, f"{token.kind!r} closes nothing")
                opener = self._tokens[opened[-1]]
                if _OPEN[opener.kind] != token.kind:
                    place = self.position(opener.start)
                    raise self._mistake(
                        token.start,
                        f"{token.kind!r} cannot close the {opener.kind!r} of {place}",
                    )
                closers[opened.pop()] = index
        if opened:
            opener = self._tokens[opened[-1]]
            raise self._mistake(opener.start, f"{opener.kind!r} is never closed")
        return closers

    def _field(self, at: int, last: int) -> tuple[Field, int]:
        first = at
        closers = self._closers
        if self._kind(first, last) not in ("[", "word"):
            raise self._mistake(
                self._tokens[at].start, f"found {self._spelled(at)} instead of a field's name"
            )
        at = closers[at] + 1 if self._kind(at, last) == "[" else at + 1
        name = "".join(self._spelled(index) for index in range(first, at))
        if self._kind(at, last) == ":":
            at += 1
        bodies: tuple[Body, ...] = ()
        kind = self._kind(at, last)
        if kind in ("{", "<"):
            bodies = (Body(at + 1, closers[at]),)
            at = closers[at] + 1
        elif kind == "[":
            bodies = self._list_bodies(at)
            at = closers[at] + 1
        elif kind == "string":
            while self._kind(at, last) == "string":
                at += 1
        elif kind == "word":
            at += 1
        else:
            raise self._mistake(self._tokens[first].start, f"field {name!r} has no value")
        if self._kind(at, last) in (",", ";"):
            at += 1
        return Field(name, self._tokens[first].start, self._tokens[at - 1].end, bodies), at

    def _list_bodies(self, at: int) -> tuple[Body, ...]:
        bodies = []
        last = self._closers[at]
        at += 1
        while at < last:
            if self._tokens[at].kind in ("{", "<"):
                bodies.append(Body(at + 1, self._closers[at]))
                at = self._closers[at]
            at += 1
        return tuple(bodies)

    def _mistake(self, offset: int, message: str) -> ParseProblem:
        return ParseProblem(self.position(offset), message)

    def _kind(self, at: int, last: int) -> str:
        return self._tokens[at].kind if at < last else ""

    def _spelled(self, index: int) -> str:
        token = self._tokens[index]
        return self.text[token.start : token.end]
