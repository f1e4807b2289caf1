"""Which models may be loaded at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.host.memory import RESERVATIONS, available_bytes
from server.models.loading.model_loading import CheckedModel

__all__ = ["LoadTurns"]

MAX_LOADS = 4
# Loading reads the files of a model and compiles a second form of them.
NUM_COPIES = 2


class LoadTurns:
    """Lets models load side by side, as long as free memory holds the files of all of them twice.

    A model that opens alone waits until nothing else loads: its node measures what is fastest, or
    takes a share of the memory that is free.
    """

    def __init__(self) -> None:
        self._loading: set[CheckedModel] = set()
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def take(self, model: CheckedModel) -> AsyncIterator[None]:
        """Wait for the turn of a model, which lasts as long as the block."""
        while self._loading and not self._can_join(model):
            await self._ended.wait()
        self._loading.add(model)
        try:
            yield
        finally:
            self._loading.remove(model)
            self._ended.set()
            self._ended = asyncio.Event()

    def _can_join(self, model: CheckedModel) -> bool:
        together = {model, *self._loading}
        if len(together) > MAX_LOADS or any(each.opens_alone for each in together):
            return False
        needed = NUM_COPIES * sum(each.num_bytes for each in together)
        try:
            return needed <= available_bytes() - RESERVATIONS.total_bytes
        except OSError:  # a system that does not tell its free memory
            return False
