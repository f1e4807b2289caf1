"""Writes an answer as it comes; the reasoning before it looks different."""

import os
import re
import sys

from server.cli.chat.client import Piece

__all__ = ["AnswerPrinter"]

DIM, NORMAL = "\x1b[2m", "\x1b[0m"
# Control characters of a model must not reach the terminal, which would obey them.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class AnswerPrinter:
    """For one answer. Without a terminal, reasoning goes to stderr, so that stdout has the answer.

    `text` is the answer so far, without the reasoning.
    """

    def __init__(self) -> None:
        self.text = ""
        self._is_terminal = sys.stdout.isatty()
        self._has_colour = self._is_terminal and "NO_COLOR" not in os.environ
        self._is_reasoning = False

    def show(self, piece: Piece) -> None:
        """Write a piece at once."""
        if piece.is_reasoning != self._is_reasoning:
            self._switch()
        if not piece.is_reasoning:
            self.text += piece.text
        text = CONTROLS.sub("", piece.text) if self._is_terminal else piece.text
        self._write(text)

    def end(self) -> None:
        """Finish the line."""
        if self._is_reasoning:
            self._switch()
        print(flush=True)

    def _switch(self) -> None:
        if self._is_reasoning:
            self._write("\n" + (NORMAL if self._has_colour else "") + "[answer]\n")
        self._is_reasoning = not self._is_reasoning
        if self._is_reasoning:
            self._write((DIM if self._has_colour else "") + "[reasoning]\n")

    def _write(self, text: str) -> None:
        is_aside = self._is_reasoning and not self._is_terminal
        print(text, end="", flush=True, file=sys.stderr if is_aside else sys.stdout)
