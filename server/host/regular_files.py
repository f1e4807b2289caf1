"""Reads regular files only: to open a FIFO waits for a writer, and a device may never end."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["MAX_TEXT_BYTES", "find_unreadable", "open_regular"]

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
# Of files that are read into memory whole; the largest vocabularies have a tenth of it.
MAX_TEXT_BYTES = 512 * 2**20
TEXT_SUFFIXES = (".jinja", ".json", ".model", ".pbtxt", ".py", ".txt", ".xml")
# No file system keeps the opening of a regular file waiting for this; Windows has no such flag.
NON_BLOCKING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read its bytes. Raises OSError for anything else, at once."""
    # Before it is opened: that alone may do something to a device.
    _require_regular(path.stat().st_mode, path)
    descriptor = os.open(path, os.O_RDONLY | NON_BLOCKING)
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def find_unreadable(path: Path) -> str | None:
    """Why a file, or a file directly in a folder, must not be read: no regular file, or too large.

    What is missing is no problem here.
    """
    try:
        files = list(path.iterdir()) if path.is_dir() else [path]
    except OSError:
        return None
    return next((problem for file in sorted(files) if (problem := _problem(file))), None)


def _problem(file: Path) -> str | None:
    try:
        found = file.stat()
    except OSError:
        return None
    if stat.S_ISDIR(found.st_mode):
        return None
    if not stat.S_ISREG(found.st_mode):
        return f"{file} {_describe(found.st_mode)}"
    if file.suffix in TEXT_SUFFIXES and found.st_size > MAX_TEXT_BYTES:
        largest = f"{MAX_TEXT_BYTES >> 20} MiB are the most"
        return f"{file} has {found.st_size >> 20} MiB; {largest} for a {file.suffix} file"
    return None


def _require_regular(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, _describe(mode), str(path))


def _describe(mode: int) -> str:
    return f"is {KINDS.get(stat.S_IFMT(mode), 'something else')}; a regular file is needed"
