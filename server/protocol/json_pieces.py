"""Large JSON, parsed in pieces.

Python's parser lets no other thread run until it has finished, which takes a second for some bodies
of a few megabytes. Here each call of it gets a short piece. The text is cut before commas, and each
piece is completed with the brackets that are open at its two ends.
"""

import gc
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from server.errors import InvalidRequestError

__all__ = ["JsonLimits", "PieceError", "parse_in_pieces"]

BLOCK_BYTES = 2**17
# Such a stretch without a bracket, comma or string is no sensible number or indentation.
MAX_BLANK_BYTES = 2**20
# A string cannot be cut. From this size on the faster parser takes it, and up to the second it may
# hold anything; above that only what needs no conversion, as Base64.
LARGE_PIECE_BYTES = 2**20
MAX_TEXT_BYTES = 2**24
QUOTE, BACKSLASH, COMMA, COLON = b'"\\,:'
OPENING = b"[{"
WHITE_SPACE = b" \t\r\n"
# Stands for what a piece continues. Nobody can guess it, so no body has it as a name.
DUMMY = secrets.token_hex(16)

IS_MARK = np.zeros(256, bool)
IS_MARK[list(b"[]{},:")] = True

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.intp]
Loads = Callable[[str], Any]


class JsonLimits(NamedTuple):
    """The most levels of nesting; lists, objects and members; and commas."""

    depth: int
    marks: int
    commas: int


class PieceError(ValueError):
    """The text is not JSON at a byte."""

    def __init__(self, problem: str, position: int) -> None:
        super().__init__(problem)
        self.position = position


class _Open(NamedTuple):
    """A list or object that has begun and not ended."""

    bracket: int
    value: Any


class _Opened(NamedTuple):
    """One that begins in the current piece. If it is in an object, `name` is where its name is."""

    bracket: int
    name: tuple[int, int] | None


def parse_in_pieces(text: bytes, loads: Loads, limits: JsonLimits) -> Any:
    """The value of JSON text; `loads` parses the pieces.

    Raises PieceError and InvalidRequestError, and what `loads` raises except for JSONDecodeError.
    """
    with _without_garbage_collection():
        return _Parser(text, loads, limits).parse()


class _Scanner:
    """Finds brackets, commas and colons outside of strings, block by block."""

    def __init__(self) -> None:
        self.is_in_string = False
        self._is_escaped = False

    def scan(self, block: Bytes) -> tuple[Positions, int]:
        """The positions of the marks in the block, and the last one of a quote or mark, or -1."""
        quotes = np.flatnonzero(block == QUOTE)
        is_escaped = self._find_escaped(block)
        if is_escaped is not None:
            quotes = quotes[~is_escaped[quotes]]
        marks = np.flatnonzero(IS_MARK[block])
        num_quotes = np.searchsorted(quotes, marks) + self.is_in_string
        marks = marks[num_quotes % 2 == 0]
        self.is_in_string ^= bool(len(quotes) % 2)
        return marks, max(int(found[-1]) if len(found) else -1 for found in (quotes, marks))

    def _find_escaped(self, block: Bytes) -> npt.NDArray[np.bool_] | None:
        """Which bytes follow a backslash that is not escaped itself."""
        found = np.flatnonzero(block == BACKSLASH)
        if self._is_escaped:
            # The backslash at the end of the block before.
            found = np.concatenate([[-1], found])
        if not len(found):
            return None
        # Each second one of a row is escaped.
        is_first = np.diff(found, prepend=-3) != 1
        first = found[is_first][np.cumsum(is_first) - 1]
        is_escaped = np.zeros(len(block) + 1, bool)
        is_escaped[found[(found - first) % 2 == 0] + 1] = True
        self._is_escaped = bool(is_escaped[-1])
        return is_escaped


class _Parser:
    def __init__(self, text: bytes, loads: Loads, limits: JsonLimits) -> None:
        self._text = text
        self._loads = loads
        self._limits = limits
        self._num_marks = 0
        self._num_commas = 0
        # From the outermost to the innermost.
        self._open: list[_Open] = []
        self._root: Any = None
        # The start of the piece that is not parsed yet, and its marks so far.
        self._start = 0
        self._marks: list[Positions] = []

    def parse(self) -> Any:
        scanner = _Scanner()
        whole = np.frombuffer(self._text, np.uint8)
        blank_start = 0
        for begin in range(0, len(whole), BLOCK_BYTES):
            block = whole[begin : begin + BLOCK_BYTES]
            end = begin + len(block)
            marks, last = scanner.scan(block)
            codes = block[marks]
            self._count(codes)
            if scanner.is_in_string or last >= 0:
                blank_start = end if scanner.is_in_string else begin + last
            if end - blank_start > MAX_BLANK_BYTES:
                problem = f"more than {MAX_BLANK_BYTES} bytes of white space or of a number"
                raise InvalidRequestError(f"the body has {problem} before byte {end}")
            commas = np.flatnonzero(codes == COMMA)
            if len(commas):
                self._marks.append(marks[: commas[-1]] + begin)
                self._parse_piece(begin + int(marks[commas[-1]]))
                marks = marks[commas[-1] :]
            self._marks.append(marks + begin)
        self._parse_piece(len(self._text), is_last=True)
        return self._root

    def _count(self, codes: Bytes) -> None:
        counts = np.bincount(codes, minlength=256)
        self._num_commas += int(counts[COMMA])
        self._num_marks += int(counts[list(b"[{:")].sum())
        if self._num_marks > self._limits.marks:
            problem = f"{self._limits.marks} lists, objects and members"
            raise InvalidRequestError(f"the body holds more than {problem}")
        if self._num_commas > self._limits.commas:
            raise InvalidRequestError(f"the body holds more than {self._limits.commas} commas")

    def _parse_piece(self, end: int, *, is_last: bool = False) -> None:
        """Parse up to `end`, which is before a comma or the end of the text."""
        if not is_last and self._text[self._start : end].rstrip(WHITE_SPACE)[-1:] in (b"[", b"{"):
            # Completed, it would be an empty list or object.
            raise PieceError("expecting a value before the comma", end)
        num_kept, opened = self._follow_brackets()
        prefix = "".join("[" if o.bracket == OPENING[0] else f'{{"{DUMMY}":' for o in self._open)
        suffix = ""
        if not is_last:
            brackets = [o.bracket for o in self._open[:num_kept]] + [o.bracket for o in opened]
            suffix = "".join("]" if b == OPENING[0] else "}" for b in reversed(brackets))
        # The piece goes on after a value, for which there is a 0.
        value = self._load(f"{prefix}0" if prefix else "", end, suffix)
        if self._open:
            self._merge(value)
        else:
            self._root = value
        self._open = [*self._open[:num_kept]]
        for new in opened:
            self._open.append(_Open(new.bracket, self._find_value(new)))
        self._start = end

    def _follow_brackets(self) -> tuple[int, list[_Opened]]:
        """How many of the open brackets the piece leaves open, and what it opens."""
        positions = np.concatenate(self._marks) if self._marks else np.zeros(0, np.intp)
        self._marks = []
        codes = np.frombuffer(self._text, np.uint8)[positions]
        num_kept = len(self._open)
        opened: list[_Opened] = []
        is_bracket = (codes != COMMA) & (codes != COLON)
        for index in np.flatnonzero(is_bracket).tolist():
            code = int(codes[index])
            if code in OPENING:
                name = None
                if index > 0 and codes[index - 1] == COLON:
                    before = int(positions[index - 2]) if index > 1 else self._start - 1
                    name = before + 1, int(positions[index - 1])
                opened.append(_Opened(code, name))
                if num_kept + len(opened) > self._limits.depth:
                    problem = f"nested deeper than {self._limits.depth} levels"
                    raise InvalidRequestError(f"the body is {problem}")
            elif opened:
                opened.pop()
            elif num_kept:
                num_kept -= 1
            else:
                raise PieceError("a closing bracket without an opening one", int(positions[index]))
        return num_kept, opened

    def _load(self, prefix: str, end: int, suffix: str) -> Any:
        piece = self._text[self._start : end]
        if len(piece) > LARGE_PIECE_BYTES:
            if len(piece) > MAX_TEXT_BYTES and (b"\\" in piece or not piece.isascii()):
                raise InvalidRequestError(
                    f"a string before byte {end} is longer than {MAX_TEXT_BYTES} bytes, and holds "
                    "escapes or characters outside ASCII"
                )
            try:
                return from_json(prefix.encode() + piece + suffix.encode(), allow_inf_nan=False)
            except ValueError:
                # The other parser says what is wrong.
                pass
        try:
            return self._loads(prefix + piece.decode() + suffix)
        except UnicodeDecodeError as error:
            raise PieceError("it is not UTF-8", self._start + error.start) from error
        except json.JSONDecodeError as error:
            position = max(0, error.pos - len(prefix)) + self._start
            raise PieceError(error.msg, min(position, end)) from error

    def _merge(self, value: Any) -> None:
        """Add the values of a piece to the lists and objects that they belong to."""
        for target in self._open:
            if isinstance(value, list):
                target.value.extend(value[1:])
                value = value[0]
            else:
                first = value.pop(DUMMY)
                target.value.update(value)
                value = first

    def _find_value(self, new: _Opened) -> Any:
        """The list or object that a piece has opened last in the innermost open one."""
        if not self._open:
            return self._root
        parent = self._open[-1].value
        if new.name is None:
            return parent[-1]
        begin, end = new.name
        return parent[json.loads(self._text[begin:end])]


class _Pause:
    """How many threads need the garbage collector to stand still."""

    lock = threading.Lock()
    num_users = 0


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """It would go through the new lists and objects again and again while their number grows."""
    with _Pause.lock:
        _Pause.num_users += 1
        gc.disable()
    try:
        yield
    finally:
        with _Pause.lock:
            _Pause.num_users -= 1
            if not _Pause.num_users:
                gc.enable()
