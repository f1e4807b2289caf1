"""Models that are loaded and unloaded together."""

import time
from dataclasses import dataclass, field

__all__ = ["Group", "GroupKey"]

GroupKey = tuple[str, bool]
"""The name of a group; or the name of a model without a group, and True."""


@dataclass(eq=False, slots=True)
class Group:
    """The use of a group. Times are those of `time.monotonic`.

    `num_requests` counts requests that the loaded group is working on. While it `is_yielding`, new
    requests wait, because others wait for its memory.
    """

    key: GroupKey
    is_permanent: bool
    num_requests: int = 0
    last_used: float = field(default_factory=time.monotonic)
    loaded_at: float = field(default_factory=time.monotonic)
    is_yielding: bool = False

    def __str__(self) -> str:
        name, is_own = self.key
        return f"model {name!r}" if is_own else f"group {name!r}"

    def enter(self) -> None:
        """Count a request."""
        self.num_requests += 1
        self.last_used = time.monotonic()

    def leave(self) -> None:
        """Count the end of a request."""
        self.num_requests -= 1
        self.last_used = time.monotonic()
