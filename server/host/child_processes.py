"""Child processes that run Python: how they find our packages, and how they end."""

import ctypes
import os
import signal
import sys
from pathlib import Path

__all__ = ["end_with_parent", "python_path"]

PR_SET_PDEATHSIG = 1
# Where our own packages are: a script that is run from a checkout has no other way to find them.
PACKAGES = str(Path(__file__).resolve().parents[2])


def python_path() -> str:
    """The value of PYTHONPATH with which a child finds our packages."""
    return os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH")]))


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Called in a child: Linux sends it this signal when its parent ends, however that happens.

    To Linux the parent is the thread that started the child, so this thread must live as long.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
