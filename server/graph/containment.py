"""Calculators are other people's code: what they raise fails their own work and nothing else."""

from types import TracebackType

__all__ = ["Containment"]


class Containment:
    """`with Containment(): ...` raises a RuntimeError in place of what no event loop can take.

    SystemExit and KeyboardInterrupt of a task or of a thread end asyncio's loop, and with it the
    server; a future that gets StopIteration never ends; other exceptions that are no Exception
    pass every handler. `passing` are those of them that have a meaning where the code runs.
    """

    def __init__(self, *passing: type[BaseException]) -> None:
        self._passing = passing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, self._passing):
            return
        is_stop = isinstance(error, StopIteration | StopAsyncIteration)
        if is_stop or not isinstance(error, Exception):
            raise RuntimeError(f"it raised {type(error).__name__}: {error}") from error
