"""When models are unloaded, and how long requests wait for one that is not loaded."""

from dataclasses import dataclass

__all__ = ["ResidencySettings"]


@dataclass(frozen=True, slots=True)
class ResidencySettings:
    """The command line's flags of the same names; without the first two, all models stay loaded.

    `idle_unload_timeout_s` 0 unloads nothing for being idle. `memory_budget_bytes` is for all
    models together; None limits them to the memory that is free. `max_waiting` requests at most
    wait for models to be loaded, each for `wait_timeout_s`.
    """

    idle_unload_timeout_s: float = 0.0
    memory_budget_bytes: int | None = None
    wait_timeout_s: float = 300.0
    max_waiting: int = 1000

    @property
    def is_on(self) -> bool:
        """Whether models may be unloaded while they are configured."""
        return self.idle_unload_timeout_s > 0 or self.memory_budget_bytes is not None
