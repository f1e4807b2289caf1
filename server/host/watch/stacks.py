"""What the threads of this process do now."""

import sys
import threading
import traceback

__all__ = ["describe_threads", "threads_named"]

MAX_FRAMES, MAX_CHARACTERS = 30, 60_000


def threads_named(name: str) -> list[threading.Thread]:
    """The running threads of that name."""
    return [thread for thread in threading.enumerate() if thread.name == name]


def describe_threads(only: str | None = None) -> str:
    """The stacks of all threads, or of those of one name, cut where they are very long."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = []
    for ident, frame in sys._current_frames().items():
        name = names.get(ident, "not of Python")
        if only in (None, name):
            lines = "".join(traceback.format_stack(frame, MAX_FRAMES))
            stacks.append(f"{name}:\n{lines}")
    return "".join(stacks)[:MAX_CHARACTERS]
