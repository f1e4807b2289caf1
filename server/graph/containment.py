"""Calculators are other people's code: their errors must fail their own work and nothing else."""

__all__ = ["Containment"]


class Containment:
    """`with Containment(): ...` replaces exceptions that would harm the event loop by RuntimeError.

    SystemExit and KeyboardInterrupt in a task or thread would end asyncio's loop, and so the
    server. A future that gets StopIteration never ends. Other exceptions that are no Exception
    pass every handler. `passing` are those with a meaning where the code runs.
    """

    def __init__(self, *passing: type[BaseException]) -> None:
        self._passing = passing

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        if error is None or isinstance(error, self._passing):
            return
        is_stop = isinstance(error, StopIteration | StopAsyncIteration)
        if is_stop or not isinstance(error, Exception):
            raise RuntimeError(f"it raised {type(error).__name__}: {error}") from error
