"""An event loop in its own thread, for callers without one."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from server.errors import ModelNotReadyError

__all__ = ["LoopThread"]

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for other threads until it is closed."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether `run` still works."""
        return self._is_open

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for the result; an interrupt of the waiting thread cancels the work.

        Raises ModelNotReadyError after `close`, and where `close` ends the work.
        """
        # With the lock, nothing reaches the loop after its end, when nobody would answer.
        with self._lock:
            if not self._is_open:
                work.close()
                raise ModelNotReadyError("the model was closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError as error:
            raise ModelNotReadyError("the model was closed") from error
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the loop and its worker threads; harmless a second time."""
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(_cancel_others())
        # When the interpreter ends, the worker threads have ended already.
        if threading.main_thread().is_alive():
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


async def _cancel_others() -> None:
    """Cancel what runs, also what was about to begin."""
    await asyncio.sleep(0)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
