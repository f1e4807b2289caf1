"""Helpers of the AsyncLLMEngine tests: requests, and ways to read their answers."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from server.engine.async_engine import AsyncLLMEngine
from server.engine.requests.generation import ChoiceOutput, Generation
from server.payloads import SamplingParams

MakeEngine = Callable[..., AsyncLLMEngine]
Prompts = list[list[int]]

HANG_S = 60
"""A test that waits as long as this has hung."""


def params(max_tokens: int | None = 16, **fields: Any) -> SamplingParams:
    settings = {"temperature": 0.0, "ignore_eos": True, **fields}
    return SamplingParams(**settings, max_tokens=max_tokens)


ENDLESS = params(None)


def num_engine_threads() -> int:
    return sum(thread.name == "llm-engine" for thread in threading.enumerate())


async def read_all(generation: Generation) -> dict[int, list[int]]:
    """The tokens of each choice; each must end once, and nothing may follow its end."""
    tokens: dict[int, list[int]] = {}
    finished = set()
    async with asyncio.timeout(HANG_S):
        async for output in generation:
            assert output.index not in finished
            tokens.setdefault(output.index, []).extend(output.token_ids)
            if output.finish_reason is not None:
                finished.add(output.index)
    return tokens


async def first(generation: Generation) -> ChoiceOutput:
    async for output in generation:
        return output
    raise AssertionError("a generation without a token")


async def until(condition: Callable[[], bool]) -> None:
    """Poll for something that the engine's thread does without a notification."""
    async with asyncio.timeout(HANG_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


SEARCH = params(num_beams=4, n=3)
