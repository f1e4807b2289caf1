"""The files that a model was loaded from, and whether they have changed."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Change", "WatchedFiles"]

# Files up to this size are compared by content: to touch or copy one changes nothing.
MAX_HASHED_BYTES = 16 * 2**20
# Files in a model's folder that are no part of the model: those of editors and exports, and those
# that OpenVINO writes if CACHE_DIR is that folder.
IGNORED_SUFFIXES = (".bak", ".blob", ".cl_cache", ".log", ".part", ".pyc", ".tmp", "~")


@dataclass(frozen=True)
class _FileState:
    """A file at one moment; `real_path` tells when a link leads elsewhere."""

    real_path: str
    signature: tuple[int, int, int]
    digest: bytes | None

    @property
    def content(self) -> object:
        """What identifies the content of the file, as far as that is cheap to know."""
        return self.real_path, self.digest or self.signature


Change = tuple[Path, object]


class WatchedFiles:
    """The state of paths when they were added; a folder stands for the files directly in it."""

    def __init__(self) -> None:
        self._added: dict[Path, dict[Path, _FileState]] = {}

    def add(self, path: Path) -> None:
        """Remember the state of a file or folder now; it need not exist."""
        self._added[path] = _look_at(path, {})

    def find_changes(self) -> frozenset[Change]:
        """Each changed file with its new content; None for one that is gone."""
        changes: set[Change] = set()
        for path, before in tuple(self._added.items()):
            now = _look_at(path, before)
            for file in before.keys() | now.keys():
                old, new = before.get(file), now.get(file)
                if old is None or new is None or old.content != new.content:
                    changes.add((file, None if new is None else new.content))
                else:
                    # Same content, other time stamp: do not read it again at every look.
                    before[file] = new
        return frozenset(changes)


def _look_at(path: Path, known: dict[Path, _FileState]) -> dict[Path, _FileState]:
    states = {}
    for file in _files_of(path):
        state = _file_state(file, known.get(file))
        if state is not None:
            states[file] = state
    return states


def _files_of(path: Path) -> list[Path]:
    try:
        names = os.listdir(path)  # noqa: PTH208 - a Path for each ignored file would be a waste
    except OSError:
        return [path]
    return [
        path / name
        for name in names
        if not name.startswith((".", "#")) and not name.endswith(IGNORED_SUFFIXES)
    ]


def _file_state(file: Path, known: _FileState | None) -> _FileState | None:
    """The state of a file; None if there is no such file, or it is a folder."""
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            return None
        signature = (found.st_mtime_ns, found.st_size, found.st_ino)
        real_path = os.path.realpath(file)
        if known is not None and (known.signature, known.real_path) == (signature, real_path):
            return known
        digest = None
        if found.st_size <= MAX_HASHED_BYTES:
            digest = hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return None
    return _FileState(real_path, signature, digest)
