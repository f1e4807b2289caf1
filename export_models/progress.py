"""What an export is doing and for how long: lines, and a bar on a terminal."""

import sys
import time

from server.terminal.progress_bar import ProgressBar

__all__ = ["Progress"]

HEARTBEAT_S = 15.0


class Progress:
    """Prints each step with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._last_line = self._start
        self._bar = ProgressBar(sys.stdout)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def step(self, text: str) -> None:
        """Print a line."""
        self._last_line = time.monotonic()
        self._bar.hide()
        print(f"[{self.elapsed_s:6.1f} s] {text}", flush=True)
        self._bar.draw()

    def heartbeat(self, text: str, fraction: float) -> None:
        """Show that a long step still runs: by the bar, or by a line now and then."""
        if self._bar.is_possible:
            self._bar.show(f"{text}, {self.elapsed_s:.0f} s", fraction)
        elif time.monotonic() - self._last_line >= HEARTBEAT_S:
            self.step(f"still running: {text}")

    def end(self) -> None:
        """Remove the bar."""
        self._bar.clear()
