"""Maps a file safely although other processes may write to it."""

import ctypes
import fcntl
import logging
import mmap
import os
import signal
import threading
import weakref
from pathlib import Path
from time import sleep

from server.engine.system.mappings import advise, read_mappings

logger = logging.getLogger(__name__)

LOOK_INTERVAL_S = 0.2
"""The longest time until a waiting writer is noticed; Linux lets it wait for up to 45 s."""

MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2
MAP_FAILED = ctypes.c_void_p(-1).value

# Held while mappings are replaced by copies or pages are given back: pages of a copy cannot be read
# again, and two leases on one file must not replace the same mapping.
_MAPPINGS_LOCK = threading.Lock()

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = _libc.mremap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mremap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 2, ctypes.c_int, ctypes.c_void_p]


class FileLease:
    """A read lease (fcntl(2), F_SETLEASE) on a file that this process maps.

    A process that opens the file to write, or truncates it, waits until the lease is given up.
    Before that, all mappings of the file in this process are replaced by copies in memory.
    Otherwise reading a page that was cut off would end the process with SIGBUS. Raises OSError
    where no lease is possible: for a file of another user, a file that is open for writing, or a
    file system without leases.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._real_path = str(path.resolve())
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # The default signal about a writer, SIGIO, would end the process; SIGURG is ignored.
            fcntl.fcntl(self._fd, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except BaseException:
            os.close(self._fd)
            raise
        # Closing the file gives up the lease.
        self._finalizer = weakref.finalize(self, os.close, self._fd)
        _LEASES.add(self)

    @property
    def is_held(self) -> bool:
        """Whether a writer would have to wait."""
        return self._finalizer.alive

    def close(self) -> None:
        """Give up the lease; the file must not be read through a mapping any more."""
        self._finalizer()

    def forget_pages(self) -> None:
        """Give back the memory of pages that were read; they are read again when needed."""
        with _MAPPINGS_LOCK:
            for start, size in self._mappings():
                advise(start, size, mmap.MADV_DONTNEED)

    def _mappings(self) -> list[tuple[int, int]]:
        """Start and size of each mapping of the file in this process."""
        status = os.fstat(self._fd)
        device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
        return [
            (mapping.start, mapping.end - mapping.start)
            for mapping in read_mappings()
            # Overlay file systems show other numbers for a mapping than for the file.
            if (mapping.device, mapping.inode) == (device, status.st_ino)
            or mapping.name == self._real_path
        ]

    def look(self) -> None:
        """Copy the mappings to memory and give up the lease if a writer is waiting."""
        if self.is_held and fcntl.fcntl(self._fd, fcntl.F_GETLEASE) != fcntl.F_RDLCK:
            logger.debug(
                "%s is about to be overwritten; its contents are copied to memory", self._path
            )
            with _MAPPINGS_LOCK:
                for start, size in self._mappings():
                    _move_to_memory(start, size)
            self.close()


def _move_to_memory(start: int, size: int) -> None:
    """Replace a mapping by a copy in memory, atomically for its readers."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    copy = _libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if copy == MAP_FAILED:
        raise OSError(ctypes.get_errno(), f"no memory for a copy of {size} bytes of a mapped file")
    ctypes.memmove(copy, start, size)
    if _libc.mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, start) == MAP_FAILED:
        raise OSError(ctypes.get_errno(), "a mapped file cannot be replaced by its copy")


class _Leases:
    """All leases of this process, and the thread that watches them."""

    def __init__(self) -> None:
        self._leases: weakref.WeakSet[FileLease] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, lease: FileLease) -> None:
        with self._lock:
            self._leases.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="file-leases", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while self._has_leases():
            sleep(LOOK_INTERVAL_S)
            self._look()

    def _has_leases(self) -> bool:
        with self._lock:
            if len(self._leases) == 0:
                self._thread = None
                return False
            return True

    def _look(self) -> None:
        for lease in list(self._leases):
            try:
                lease.look()
            except OSError:
                logger.exception("a mapped file changes while this process uses it")


_LEASES = _Leases()
