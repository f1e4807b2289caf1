"""The last line of a terminal: what is being done, and how much of it is done."""

import os
from typing import TextIO

__all__ = ["ProgressBar"]

CLEAR_LINE = "\r\x1b[K"
WIDTH = 24


class ProgressBar:
    """Only on a terminal; elsewhere every method does nothing."""

    def __init__(self, stream: TextIO, *, is_wanted: bool = True) -> None:
        self._stream = stream
        self._line = ""
        self.is_possible = is_wanted and stream.isatty() and os.environ.get("TERM") != "dumb"

    def show(self, text: str, fraction: float) -> None:
        """Draw the bar; a fraction of 1 removes it."""
        if fraction >= 1:
            self.clear()
            return
        num_full = int(max(0.0, fraction) * WIDTH)
        bar = "#" * num_full + "." * (WIDTH - num_full)
        line = f"[{bar}] {100 * max(0.0, fraction):3.0f} % {text}"
        if line != self._line:
            self._line = line
            self.draw()

    def draw(self) -> None:
        """Draw the same bar again, after another line was written."""
        if self.is_possible and self._line:
            self._write(CLEAR_LINE + self._line[: self._columns() - 1])

    def hide(self) -> None:
        """Make room for another line."""
        if self.is_possible and self._line:
            self._write(CLEAR_LINE)

    def clear(self) -> None:
        """Remove the bar."""
        self.hide()
        self._line = ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def _columns(self) -> int:
        try:
            # A terminal may say 0.
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80
