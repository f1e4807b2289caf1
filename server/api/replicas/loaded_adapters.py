"""The adapters that clients have loaded, for replicas that are started again."""

import json
from collections.abc import Sequence

__all__ = ["LoadedAdapters"]

LOAD_PATH = "/v1/load_lora_adapter"


class LoadedAdapters:
    """The requests that loaded adapters, by the adapters' names. An unloaded one is forgotten."""

    def __init__(self) -> None:
        self._bodies: dict[str, bytes] = {}

    def note(self, path: str, body: bytes) -> None:
        """Note a request for an adapter that every replica has accepted."""
        fields = json.loads(body)
        name = fields["lora_name"]
        if path == LOAD_PATH:
            # A replica that was only silent for a while may have it already.
            self._bodies[name] = json.dumps({**fields, "load_inplace": True}).encode()
        else:
            self._bodies.pop(name, None)

    def requests(self) -> Sequence[tuple[str, bytes]]:
        """The name of each adapter, and the body to load it with."""
        return tuple(self._bodies.items())
