"""The memory for the bodies of all requests of a server."""

from server.errors import QueueFullError

__all__ = ["BodyMemory", "HeldBytes"]

# Such parts are not counted, and cost nothing.
SMALL_BYTES = 2**16
RETRY_AFTER_S = 1


class BodyMemory:
    """`quota` is the most bytes of all bodies together; 0 means no bound."""

    def __init__(self, quota: int) -> None:
        self.quota = quota
        self.num_bytes = 0


class HeldBytes:
    """The bytes of the body of one request, from their arrival until the request has ended."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._num_bytes = 0

    def grow(self, num_bytes: int) -> None:
        """The body has now so many bytes. Raises QueueFullError; a single body is always taken."""
        if num_bytes <= SMALL_BYTES:
            return
        memory = self._memory
        others = memory.num_bytes - self._num_bytes
        if 0 < memory.quota < others + num_bytes and others:
            raise QueueFullError(
                f"the bodies of other requests have {others} bytes; {num_bytes} more are above "
                f"--rest_memory_quota {memory.quota}",
                "rest_memory_quota",
                RETRY_AFTER_S,
            )
        memory.num_bytes = others + num_bytes
        self._num_bytes = num_bytes

    def release(self) -> None:
        """The request has ended."""
        self._memory.num_bytes -= self._num_bytes
        self._num_bytes = 0
