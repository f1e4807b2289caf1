"""The event loop of the Python door, in its own thread."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.errors import ModelNotReadyError
from server.llm.loop_thread import LoopThread


async def test_work_that_runs_at_the_end_is_ended() -> None:
    loop = LoopThread("test")
    has_begun = asyncio.Event()
    here = asyncio.get_running_loop()

    async def work() -> None:
        here.call_soon_threadsafe(has_begun.set)
        await asyncio.sleep(600)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(loop.run, work())
        await has_begun.wait()
        loop.close()
        with pytest.raises(ModelNotReadyError, match="was closed"):
            waiting.result(10)
    with pytest.raises(ModelNotReadyError, match="was closed"):
        loop.run(work())


async def test_what_comes_at_the_end_is_answered() -> None:
    for _ in range(50):
        loop = LoopThread("test")
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(loop.run, asyncio.sleep(0, "done")) for _ in range(8)]
            loop.close()
            for each in waiting:
                error = await asyncio.to_thread(each.exception, 10)
                assert error is None or isinstance(error, ModelNotReadyError)
