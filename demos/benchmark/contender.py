"""What run.py asks of an engine that takes part, and what it gets back."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from workload import BenchmarkRequest


class BenchmarkError(Exception):
    """A round could not be measured; the message says which contender and why."""


@dataclass(frozen=True)
class EngineSettings:
    """What every contender is started with, so that only the engines differ."""

    model_path: Path
    plugin_config: Mapping[str, Any] = field(default_factory=dict)
    max_num_batched_tokens: int = 256
    max_num_seqs: int = 256
    cache_size_gb: int = 2


@dataclass(frozen=True)
class RequestTiming:
    """When the tokens of one request came; all times are seconds from the start of the round.

    `token_times_s` has one entry for each arrival of text, which may hold several tokens.
    """

    arrival_s: float
    token_times_s: tuple[float, ...]
    num_tokens: int


class Contender(Protocol):
    """An engine with the model loaded, ready to be measured round after round."""

    name: str

    async def start(self) -> None:
        """Load the model; return when requests are accepted."""

    async def run_round(self, requests: Sequence[BenchmarkRequest]) -> list[RequestTiming]:
        """Generate exactly `max_tokens` tokens for each request; timings in the same order."""

    async def stop(self) -> None:
        """End every process that `start` began; harmless when there is none."""


def check_num_tokens(
    name: str, requests: Sequence[BenchmarkRequest], timings: Sequence[RequestTiming]
) -> None:
    """Raise BenchmarkError unless every request got as many tokens as it asked for."""
    for index, (request, timing) in enumerate(zip(requests, timings, strict=True)):
        if timing.num_tokens != request.max_tokens:
            raise BenchmarkError(
                f"{name}: request {index} got {timing.num_tokens} tokens instead of "
                f"{request.max_tokens}; is ignore_eos obeyed, and does the prompt of "
                f"{len(request.token_ids)} tokens leave room in the model's context?"
            )


def load_vocab_size(model_path: Path) -> int:
    """Read the vocabulary size from the config.json of a model folder."""
    config_path = model_path / "config.json"
    try:
        return int(json.loads(config_path.read_text())["vocab_size"])
    except (OSError, ValueError, KeyError) as error:
        raise BenchmarkError(f"{config_path}: no usable vocab_size ({error})") from error


async def stop_process(process: asyncio.subprocess.Process, timeout_s: float) -> None:
    """Ask the process to end, kill it when it does not, and wait until it is gone."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), timeout_s)
    except TimeoutError:
        process.kill()
        await process.wait()
