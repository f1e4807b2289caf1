"""Whether this process does anything: what hangs without end mostly does nothing."""

import os
from contextlib import suppress
from pathlib import Path
from time import monotonic

__all__ = ["Activity"]

BUSY_SHARE = 0.03
"""Of one processor. A server that only waits takes less, and one that must share takes more."""


class Activity:
    """Tells how long neither this process nor a child has computed, or read from a disk."""

    def __init__(self) -> None:
        self.idle_s = 0.0
        self._last = (monotonic(), *_measure())

    def look(self) -> None:
        """Look once; all of the time since the last look counts as idle, or none of it."""
        before_at, before_cpu_s, before_reads = self._last
        now, cpu_s, reads = self._last = (monotonic(), *_measure())
        seconds = now - before_at
        # A child that ended takes its time with it, and then counts as busy once.
        is_busy = abs(cpu_s - before_cpu_s) > BUSY_SHARE * seconds or reads != before_reads
        self.idle_s = 0.0 if is_busy else self.idle_s + seconds


def _measure() -> tuple[float, int]:
    """Seconds of processor time, and how often something was read from a disk."""
    times = os.times()
    reads = 0
    with suppress(ImportError):  # Windows
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        reads = usage.ru_inblock + usage.ru_majflt
    return times.user + times.system + _children_s(), reads


def _children_s() -> float:
    """The processor time of the running children; 0 on a system that does not tell."""
    ticks = 0
    for tasks in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            for pid in tasks.read_text().split():
                # The name of the program, in brackets, may hold spaces.
                fields = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else 0.0
