"""Lines on the terminal that say what is being done and since when."""

import time

__all__ = ["Progress"]

HEARTBEAT_S = 15.0


class Progress:
    """Prints each step with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._last_line = self._start

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._start

    def step(self, text: str) -> None:
        self._last_line = time.monotonic()
        print(f"[{self.elapsed_s:6.1f} s] {text}", flush=True)

    def heartbeat(self, text: str) -> None:
        """Print `text` if nothing was printed for a while, so that a long step is seen to live."""
        if time.monotonic() - self._last_line >= HEARTBEAT_S:
            self.step(text)
