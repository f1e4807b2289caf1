"""An event loop in its own thread, for callers without one."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from server.errors import ModelNotReadyError

__all__ = ["LoopThread"]

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for other threads until it is closed."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether `run` still works."""
        return not self._loop.is_closed()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for the result; an interrupt of the waiting thread cancels the work.

        Raises ModelNotReadyError after `close`.
        """
        if not self.is_open:
            work.close()
            raise ModelNotReadyError("the model was closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the loop and its worker threads; harmless a second time."""
        if not self.is_open:
            return
        # When the interpreter ends, the worker threads have ended already.
        if threading.main_thread().is_alive():
            self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
