"""The deployments of this user on this machine: a file for each, readable by the user only."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

__all__ = [
    "Deployment",
    "find",
    "folder",
    "log_file",
    "process_start_time",
    "remove",
    "reserved",
    "running_names",
    "save",
]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A server that was started. A later process with the same `pid` has another `start_time`."""

    name: str
    url: str
    pid: int
    start_time: str

    def is_running(self) -> bool:
        """Whether its process is there."""
        return process_start_time(self.pid) == self.start_time


def process_start_time(pid: int) -> str | None:
    """When Linux started a process, in ticks since the boot; None where there is no such process.

    Elsewhere an empty text for a process that is there.
    """
    try:
        os.kill(pid, 0)
        if not Path("/proc/self/stat").exists():
            return ""
        # The name of the program stands before it in brackets and may have spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, OverflowError):
        return None
    return None if fields[0] == "Z" else fields[19]


def folder() -> Path:
    """Where the files are: $XDG_STATE_HOME, or ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "openvino-graph-server" / "deployments"


def log_file(name: str) -> Path:
    """Where the server of this name writes its log."""
    return _path(name).with_suffix(".log")


@contextmanager
def reserved(name: str) -> Iterator[None]:
    """Keep other processes from starting a deployment of this name. Raises ValueError."""
    folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    with _path(name).with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"a deployment {name!r} is just being started") from None
        yield


def save(deployment: Deployment) -> None:
    """Write the file. Raises OSError."""
    path = _path(deployment.name)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(deployment)))
    new.chmod(0o600)
    new.replace(path)


def find(name: str) -> Deployment | None:
    """The deployment with this name, if it runs."""
    try:
        deployment = Deployment(**json.loads(_path(name).read_text()))
        return deployment if deployment.is_running() else None
    except (OSError, ValueError, TypeError):
        return None


def running_names() -> list[str]:
    """Of all deployments that run."""
    found = []
    for path in sorted(folder().glob("*.json")):
        try:
            name = str(json.loads(path.read_text())["name"])
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if find(name) is not None:
            found.append(name)
    return found


def remove(name: str) -> None:
    """Forget it; harmless a second time."""
    _path(name).unlink(missing_ok=True)


def _path(name: str) -> Path:
    return folder() / f"{quote(name, safe='')}.json"
