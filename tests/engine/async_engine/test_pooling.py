"""AsyncLLMEngine.pool: many callers at once, cancelled ones, and an engine that ends."""

import asyncio

import numpy as np
import pytest
from support.async_readers import MakeEngine, Prompts, until

from server.errors import InvalidRequestError, ModelNotReadyError


async def test_many_callers_get_their_own_output(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine(enable_prefix_caching=True)
    alone = [(await engine.pool(prompt)).values for prompt in prompts]
    together = await asyncio.gather(*(engine.pool(prompt) for prompt in prompts))
    for one, other in zip(alone, together, strict=True):
        assert np.allclose(one, other.values, atol=2e-4)
    assert (await engine.pool(prompts[3], [5, 6])).values.shape == (2,)


async def test_a_cancelled_caller_frees_its_blocks(
    make_engine: MakeEngine, prompts: Prompts
) -> None:
    engine = make_engine(max_num_batched_tokens=2)
    task = asyncio.create_task(engine.pool(prompts[-1]))
    await until(lambda: engine.engine.kv.num_used_blocks > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: engine.engine.kv.num_used_blocks == 0)


async def test_closing_tells_the_callers(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine(max_num_batched_tokens=2)
    task = asyncio.create_task(engine.pool(prompts[-1]))
    await until(lambda: engine.engine.has_work)
    engine.close()
    with pytest.raises(ModelNotReadyError, match="unloaded"):
        await task
    with pytest.raises(ModelNotReadyError, match="unloaded"):
        await engine.pool(prompts[0])


async def test_what_cannot_be_asked_raises_at_once(make_engine: MakeEngine) -> None:
    with pytest.raises(InvalidRequestError, match="no tokens"):
        await make_engine().pool([])
