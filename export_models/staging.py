"""Builds a model in a hidden folder next to its final place, then renames it."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from server.errors import ExportError
from server.host.atomic_files import FolderInUseError, folder_lock
from server.host.signals import signals_held_back

__all__ = ["Staging", "stage"]


class Staging:
    """The hidden folder: the new model, temporary files and, for a moment, the old model."""

    def __init__(self, folder: Path, target: Path) -> None:
        self.target = target
        self.model_folder = folder / "model"
        self.temporary_folder = folder / "tmp"
        self._folder = folder
        self._old = folder / "old"

    def create(self) -> None:
        self.model_folder.mkdir()
        self.temporary_folder.mkdir()

    def commit(self) -> None:
        """Put the new model in place of the old one."""
        if self.target.exists():
            self.target.rename(self._old)
        self.model_folder.rename(self.target)

    def clean(self) -> None:
        """Remove the folder, however the export ended."""
        # A second signal must not interrupt this.
        with signals_held_back():
            if self._old.is_dir():
                if self.target.exists():
                    self._keep_user_files()
                else:
                    self._old.rename(self.target)
            # A leftover is hidden, so that nothing takes it for a model; the next run removes it.
            shutil.rmtree(self._folder, ignore_errors=True)

    def _keep_user_files(self) -> None:
        """Keep what an export does not write: sub-folders, calculators, other graphs."""
        for item in self._old.iterdir():
            is_users = item.is_dir() or item.suffix in {".py", ".pbtxt"}
            if is_users and not (self.target / item.name).exists():
                item.rename(self.target / item.name)


@contextmanager
def stage(target: Path) -> Iterator[Staging]:
    """Build a model for `target`; nothing is left of it unless `commit` was called.

    What a killed run left behind is removed first. Raises ExportError while another process
    exports the same model.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with folder_lock(target.parent, wait=True):
            for leftover in _leftovers(target):
                _clean_leftover(leftover, target)
            prefix = f".{target.name}.partial-"
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
            stack.enter_context(folder_lock(folder, wait=False))
        staging = Staging(folder, target)
        stack.callback(staging.clean)
        staging.create()
        yield staging


def _leftovers(target: Path) -> list[Path]:
    pattern = re.compile(re.escape(f".{target.name}.partial-") + r"[a-z0-9_]{8}")
    return [item for item in target.parent.iterdir() if pattern.fullmatch(item.name)]


def _clean_leftover(leftover: Path, target: Path) -> None:
    try:
        with folder_lock(leftover, wait=False):
            Staging(leftover, target).clean()
    except FolderInUseError as error:
        raise ExportError(f"{target}: another export of this model is running") from error
