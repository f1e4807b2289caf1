"""The repository, a folder of models: the folder of each name, and what is written there."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from export_models.staging import Staging, stage
from server.errors import ExportError
from server.graph import parse_graph_config
from server.host.atomic_files import write_atomically

__all__ = ["ModelFolder", "check_model_name"]

GRAPH_FILE = "graph.pbtxt"
# An image pipeline has its models in folders.
WRITTEN_FILES = ("openvino_*", "*/openvino_*", GRAPH_FILE)
MAX_PART_BYTES = 200


def check_model_name(name: str, flag: str = "--model_name") -> None:
    """Raise ExportError for a name that cannot be a sub-folder or part of a request."""
    for problem in _name_problems(name):
        raise ExportError(f"{flag} {name!r}: {problem}")


def _name_problems(name: str) -> Iterator[str]:
    if not name:
        yield "is empty"
    if not name.isprintable():
        yield "holds a character that cannot be printed"
    if "\\" in name:
        yield "holds a backslash; parts are separated by '/'"
    for part in name.split("/"):
        if not part:
            yield "begins or ends with '/', or has an empty part; it is a path in the repository"
        if part.startswith("."):
            yield f"the part {part!r} begins with a dot"
        if len(part.encode(errors="replace")) > MAX_PART_BYTES:
            yield f"has a part longer than {MAX_PART_BYTES} bytes"


class ModelFolder:
    """The folder of one model in the repository; it need not exist yet."""

    def __init__(self, repository: Path, name: str) -> None:
        self.repository = repository
        # Resolved: a link is followed, not replaced.
        self.path = (repository / name).resolve()
        if self.path.exists() and not self.path.is_dir():
            raise ExportError(f"{self.path}: is a file; the model {name!r} needs a folder there")

    def has_model(self) -> bool:
        """Whether an export wrote files here, complete or not."""
        return any(any(self.path.glob(pattern)) for pattern in WRITTEN_FILES)

    def is_occupied(self) -> bool:
        """Whether the folder holds files that no export wrote and none may replace."""
        if not self.path.is_dir() or self.has_model():
            return False
        return any(not item.is_dir() for item in self.path.iterdir())

    def stage(self) -> AbstractContextManager[Staging]:
        """See `export_models.staging.stage`."""
        return stage(self.path)

    def write_graph(self, text: str, folder: Path | None = None) -> bool:
        """Write graph.pbtxt here, or into the `folder` that will come here.

        A graph that was changed by hand is kept as graph.pbtxt.bak; returns whether there was one.
        """
        parse_graph_config(text, GRAPH_FILE)
        folder = folder or self.path
        folder.mkdir(parents=True, exist_ok=True)
        old = self.path / GRAPH_FILE
        is_changed = old.is_file() and old.read_bytes() != text.encode()
        if is_changed:
            write_atomically(
                folder / f"{GRAPH_FILE}.bak", old.read_text(encoding="utf-8", errors="replace")
            )
        write_atomically(folder / GRAPH_FILE, text)
        return is_changed
