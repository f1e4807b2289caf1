"""Holds signals back where an interruption would do damage, or where it would get lost."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["release_signals", "signals_held_back"]

# SIGHUP is unknown on Windows, as are masks of signals.
STOP_SIGNALS = {
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
}


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Delay the signals that stop a program until the end of the block."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def release_signals() -> None:
    """Let signals through that were held back when this process was forked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
