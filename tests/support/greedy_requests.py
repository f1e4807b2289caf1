"""Greedy requests for the tests of the engine."""

from collections.abc import Callable
from typing import Any

from server.engine.engine import LLMEngine
from server.payloads import SamplingParams

MakeEngine = Callable[..., LLMEngine]
Prompts = list[list[int]]

SOME = (0, 4, 9, 10, 15, 19, 23)
"""Positions of prompts for the tests of one feature: 1, 8, 32, 33, 65, 128 and 300 tokens."""


def params(max_tokens: int | None = 24, **fields: Any) -> SamplingParams:
    return SamplingParams(
        **{"temperature": 0.0, "ignore_eos": True, **fields}, max_tokens=max_tokens
    )


def some(values: Prompts, length: int | None = None) -> Prompts:
    return [values[i][:length] for i in SOME]
