"""Watches a server from a process of its own: the stalls of its event loop, memory, descriptors.

    python watch.py PORT PID

Asks /v2/health/live every 10 ms. For each line on standard input, it prints the figures since the
line before, as JSON. A server that takes more than MAX_RSS_MB is killed, before it takes the memory
of the whole machine.
"""

import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["MAX_RSS_MB", "Figures"]

REQUEST = b"GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
INTERVAL_S = 0.01
TREE_INTERVAL_S = 0.1
TIMEOUT_S = 60.0
MAX_RSS_MB = 6000.0


@dataclass
class Figures:
    """Since the last mark: milliseconds, MB, counts.

    `stall_ms` is the longest wait for /v2/health/live less the time in which the thread of the
    event loop was ready to run and another process had the processor. `num_slow` counts waits of
    more than 100 ms so computed, `num_lost` connections that the server closed.
    """

    latency_ms: float = 0.0
    stall_ms: float = 0.0
    num_slow: int = 0
    num_lost: int = 0
    rss_mb: float = 0.0
    peak_rss_mb: float = 0.0
    descriptors: int = 0
    peak_descriptors: int = 0
    threads: int = 0


class _Live:
    """A connection to the server that lasts, and is made again where the server closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self.num_lost = 0

    def ask(self) -> None:
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            try:
                if self._socket is None:
                    self._socket = socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S)
                self._socket.sendall(REQUEST)
                if self._socket.recv(4096):
                    return
            except ConnectionRefusedError:
                sys.exit("the server has ended")
            except OSError:
                time.sleep(0.001)
            self.num_lost += 1
            self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _queued_s(pid: int) -> float:
    """How long the main thread of a process was ready to run, but did not."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1]) / 1e9


def _tree(pid: int) -> Iterator[int]:
    """A process and all that it started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def _rss_mb(pid: int) -> float:
    pages = 0
    for each in _tree(pid):
        with suppress(OSError):
            pages += int(Path(f"/proc/{each}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


class _Process:
    """What a process takes, looked at by a thread: the event loop may stall for long."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak_rss_mb = 0.0
        self._peak_descriptors = 0
        self._look()
        threading.Thread(target=self._run, daemon=True).start()

    def take(self, found: Figures) -> None:
        """Write down the figures of now, and the highest since the last call."""
        self._look()
        found.rss_mb, found.descriptors = self._rss_mb, self._descriptors
        found.threads = sum(1 for _ in Path(f"/proc/{self._pid}/task").iterdir())
        found.peak_rss_mb, self._peak_rss_mb = self._peak_rss_mb, self._rss_mb
        found.peak_descriptors, self._peak_descriptors = self._peak_descriptors, self._descriptors

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                time.sleep(TREE_INTERVAL_S)
                self._look()
                if self._rss_mb > MAX_RSS_MB:
                    os.kill(self._pid, signal.SIGKILL)

    def _look(self) -> None:
        self._rss_mb = _rss_mb(self._pid)
        self._descriptors = sum(1 for _ in Path(f"/proc/{self._pid}/fd").iterdir())
        self._peak_rss_mb = max(self._peak_rss_mb, self._rss_mb)
        self._peak_descriptors = max(self._peak_descriptors, self._descriptors)


def watch(port: int, pid: int) -> None:
    """Watch until standard input ends."""
    live = _Live(port)
    live.ask()
    process = _Process(pid)
    found = Figures()
    while True:
        queued = _queued_s(pid)
        own_queued = int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
        start = time.monotonic()
        live.ask()
        latency = time.monotonic() - start
        queued = _queued_s(pid) - queued
        own_queued = int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9 - own_queued
        stall_ms = 1000 * max(0.0, latency - queued - own_queued)
        found.latency_ms = max(found.latency_ms, 1000 * latency)
        found.stall_ms = max(found.stall_ms, stall_ms)
        found.num_slow += stall_ms > 100
        if select.select([sys.stdin], [], [], INTERVAL_S)[0]:
            if not sys.stdin.readline():
                return
            process.take(found)
            found.num_lost, live.num_lost = live.num_lost, 0
            print(json.dumps(asdict(found)), flush=True)
            found = Figures()


if __name__ == "__main__":
    watch(int(sys.argv[1]), int(sys.argv[2]))
