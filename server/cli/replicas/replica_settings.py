"""What the front tells a replica when it starts it."""

from dataclasses import dataclass
from pathlib import Path

from server.host.processors.topology import Place

__all__ = ["ReplicaSettings"]


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """`memory_bytes` is what the replica may take of the memory that was free at the start.

    It listens on Unix sockets in `folder`, which nobody else may enter, and answers requests that
    have `secret`. There is a file in the folder that a replica locks while it reloads.
    """

    number: int
    num_replicas: int
    place: Place
    memory_bytes: int
    folder: Path
    secret: str

    @property
    def label(self) -> str:
        """How the log calls it."""
        return f"replica {self.number}"

    @property
    def http_socket(self) -> Path:
        """Where it answers HTTP."""
        return self.folder / f"{self.number}.http"

    @property
    def grpc_socket(self) -> Path:
        """Where it answers gRPC."""
        return self.folder / f"{self.number}.grpc"

    @property
    def reload_lock(self) -> Path:
        """The file that is locked while a replica reloads."""
        return self.folder / "reload.lock"
