"""Calculators are other people's code: their errors must fail their own work and nothing else."""

from server.graph.stream import EndOfStream, StreamClosed

__all__ = ["Containment", "failure_of"]

NORMAL_ENDS = (StreamClosed, EndOfStream)


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


def failure_of(error: BaseException | None) -> BaseException | None:
    """The error itself, or None where what a node raised is a normal end.

    StreamClosed is a normal end: nobody wants the outputs. So is EndOfStream: there is nothing left
    to read. Both may be in the ExceptionGroup of a TaskGroup; of the other errors in it the first
    is returned, because the client must get the error itself.
    """
    while isinstance(error, BaseExceptionGroup):
        others = error.split(NORMAL_ENDS)[1]
        error = None if others is None else others.exceptions[0]
    return None if isinstance(error, NORMAL_ENDS) else error
