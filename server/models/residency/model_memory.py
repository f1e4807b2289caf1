"""The memory of loaded models: what each takes, what fits, loading and unloading."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from server.errors import ModelLoadError
from server.graph import Graph
from server.host.memory import MEMORY_BUDGET, RESERVATIONS, available_bytes
from server.host.process_memory import give_back_free_memory, held_bytes, resident_bytes
from server.models.loading.load import leave_alone

if TYPE_CHECKING:
    from server.models.served_model import ServedModel

__all__ = ["ModelMemory"]

logger = logging.getLogger(__name__)

# A model that was never loaded is taken to need so many times the size of its files.
FILES_FACTOR = 1.2
# A node that hangs while it is closed keeps its memory. The other models need not wait for it.
CLOSE_TIMEOUT_S = 60.0
GB = 10**9


class ModelMemory:
    """Loads and unloads one model at a time, and measures what it takes.

    `models` are all that are configured.
    """

    def __init__(
        self, budget_bytes: int | None, models: Callable[[], Iterable["ServedModel"]]
    ) -> None:
        self._budget_bytes = budget_bytes
        self._models = models
        # Else a model would be charged with what another one takes or gives back meanwhile.
        self._one_at_a_time = asyncio.Lock()

    def check_budget_alone(self, models: Sequence["ServedModel"], label: str) -> None:
        """Raise ModelLoadError if these models do not fit beside those that never leave."""
        staying = (m for m in self._models() if m.config.is_permanent)
        self._check(models, sum(m.memory_bytes or 0 for m in staying if m not in models), label)

    def check_budget(self, models: Sequence["ServedModel"], label: str) -> None:
        """Raise ModelLoadError if these models do not fit beside those that are loaded now."""
        self._check(models, self._taken_bytes(models), label)

    def _check(self, models: Sequence["ServedModel"], taken: int, label: str) -> None:
        needed = _needed_bytes(models)
        if self._budget_bytes is not None and needed + taken > self._budget_bytes:
            beside = f" beside {taken / GB:.2f} GB that stay loaded" if taken else ""
            raise ModelLoadError(
                f"{label} needs about {needed / GB:.2f} GB of memory{beside}; "
                f"--memory_budget_gb allows {self._budget_bytes / GB:.2f} GB"
            )

    def is_over_budget(self) -> bool:
        """Whether what is loaded takes more than the budget."""
        return self._budget_bytes is not None and self._taken_bytes(()) > self._budget_bytes

    def has_room(self, models: Sequence["ServedModel"]) -> bool:
        """Whether these models fit beside those that are loaded.

        One that is loaded again counts once: the new one takes the place of the old one.
        """
        needed = _needed_bytes(models)
        budget = self._budget_bytes
        if budget is not None and needed + self._taken_bytes(models) > budget:
            return False
        try:
            return needed <= available_bytes() - RESERVATIONS.total_bytes
        except OSError:  # a system that does not tell its free memory
            return True

    async def load(self, model: "ServedModel", load: Callable[[], Awaitable[None]]) -> None:
        """Call `load`, which loads this model, and measure the memory that it took."""
        async with self._one_at_a_time:
            before = await asyncio.to_thread(_measure)
            if self._budget_bytes is not None:
                left = self._budget_bytes - self._taken_bytes([model]) - model.file_bytes
                MEMORY_BUDGET.left_bytes = max(0, left)
            description = model.description
            try:
                await load()
            finally:
                MEMORY_BUDGET.left_bytes = None
            if model.description is not description:
                after = await asyncio.to_thread(_measure)
                model.memory_bytes = max(0, after - before)

    async def unload(self, models: Sequence["ServedModel"], reason: str) -> None:
        """Unload what is loaded of these models; they stay available."""
        start = time.monotonic()
        # All at once: a request that comes now must find none of them loaded.
        graphs = [model.rest(reason) for model in models]
        async with self._one_at_a_time:
            before = await asyncio.to_thread(resident_bytes)
            await _close(graphs)
            graphs.clear()
            await asyncio.to_thread(give_back_free_memory)
            after = await asyncio.to_thread(resident_bytes)
        logger.info(
            "Unloaded %s in %.1f s: %s. Resident memory: %.2f GB before, %.2f GB now",
            ", ".join(model.label for model in models),
            time.monotonic() - start,
            reason,
            before / GB,
            after / GB,
        )

    def _taken_bytes(self, models: Sequence["ServedModel"]) -> int:
        """What the models take that are loaded, without these."""
        others = (model for model in self._models() if model.is_loaded and model not in models)
        return sum(model.memory_bytes or 0 for model in others)


async def _close(graphs: Sequence[Graph]) -> None:
    closing = [asyncio.create_task(graph.close(), name=f"close {graph.name}") for graph in graphs]
    _, hanging = await asyncio.wait(closing, timeout=CLOSE_TIMEOUT_S)
    for task in hanging:
        leave_alone(task)


def _needed_bytes(models: Sequence["ServedModel"]) -> int:
    return sum(
        int(model.file_bytes * FILES_FACTOR) if model.memory_bytes is None else model.memory_bytes
        for model in models
    )


def _measure() -> int:
    give_back_free_memory()
    return held_bytes()
