"""Time the scheduling of a step by the length of the queue; no model runs.

A step has up to 256 running sequences. Every request that ends is replaced by a new one, so that
the queue keeps its length. Prints a Markdown table of CPU milliseconds for each step.
"""

import argparse
import gc
from collections.abc import Callable
from time import thread_time
from typing import Any

import numpy as np

from server.engine.kv.kv_cache_manager import KVCacheManager
from server.engine.scheduling.latency_target import LatencyTarget
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.scheduling.scheduler import Scheduler
from server.engine.scheduling.step_costs import StepCosts
from server.engine.sequence import EngineRequest, Sequence
from server.host.metrics import EngineStats
from server.payloads import SamplingParams

NUM_SEATS = 256
MAX_NUM_BATCHED_TOKENS = 512
BLOCK_SIZE = 32
MANY_BLOCKS, FEW_BLOCKS = 8000, 4500
"""Enough for all seats, and not quite enough."""

SCENARIOS = {
    "no seat is free": {"caching": False},
    "no block is free": {"caching": False, "num_blocks": FEW_BLOCKS},
    "prefix caching": {"caching": True},
    "prefix caching, no block is free": {"caching": True, "num_blocks": FEW_BLOCKS},
    "prefix caching, repeated prompts, priorities": {"caching": True, "num_prompts": 64},
}


class FakeServer:
    """A scheduler whose sequences get random tokens; counts the seconds that it takes."""

    def __init__(
        self, num_waiting: int, caching: bool, num_blocks: int = MANY_BLOCKS, num_prompts: int = 0
    ) -> None:
        self._rng = np.random.default_rng(0)
        self._prompts = [self._random_prompt() for _ in range(num_prompts)]
        self._num_requests = 0
        self._kv = KVCacheManager(num_blocks, BLOCK_SIZE, caching)
        target = LatencyTarget(StepCosts(), 0.0)
        self.scheduler = Scheduler(
            self._kv, MAX_NUM_BATCHED_TOKENS, NUM_SEATS, True, 220, EngineStats(), target
        )
        self.seconds = 0.0
        self.num_ended = 0
        for _ in range(NUM_SEATS + num_waiting):
            self._add()

    def step(self) -> None:
        """Schedule a step, give its sequences their tokens, and replace what ended."""
        step = self._time(self.scheduler.schedule)
        for sequence, num_new in zip(step.sequences, step.num_new_tokens, strict=True):
            sequence.num_computed_tokens += num_new
        self._time(self._register, step)
        self._time(self.scheduler.look_ahead, step)
        for sequence in [s for s in step.sequences if s.num_uncomputed_tokens == 0]:
            sequence.append(int(self._rng.integers(50_000)))
            if sequence.num_generated_tokens == sequence.request.max_tokens:
                self._time(self.scheduler.remove, sequence)
                self.num_ended += 1
                self._add()

    def _register(self, step: ScheduledStep) -> None:
        for sequence in step.sequences:
            self._kv.register_computed_blocks(sequence)

    def _add(self) -> None:
        number = self._num_requests
        self._num_requests += 1
        repeated = bool(self._prompts)
        prompt = self._prompts[number % len(self._prompts)] if repeated else self._random_prompt()
        max_tokens = int(self._rng.integers(200, 600))
        priority = int(self._rng.integers(3)) if repeated else 0
        request = EngineRequest(number, prompt, SamplingParams(), max_tokens, priority=priority)
        self._time(self.scheduler.add, Sequence(request, arrival=number))

    def _random_prompt(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return self._rng.integers(0, 50_000, self._rng.integers(100, 500))

    def _time(self, call: Callable[..., Any], *args: Any) -> Any:
        started = thread_time()
        result = call(*args)
        self.seconds += thread_time() - started
        return result


def measure(num_waiting: int, num_steps: int, num_first: int, **scenario: int) -> list[float]:
    """Milliseconds of scheduling in each step after the first ones, which fill the seats."""
    server = FakeServer(num_waiting, **scenario)
    times_ms = []
    for _ in range(num_first + num_steps):
        server.seconds = 0.0
        server.step()
        times_ms.append(1000 * server.seconds)
    return times_ms[num_first:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--waiting", type=int, nargs="+", default=[0, 500, 1000, 2000])
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    print("| | waiting | median, ms | p99, ms |")
    print("| --- | --- | --- | --- |")
    # Garbage collection is not scheduling.
    gc.disable()
    for name, scenario in SCENARIOS.items():
        for num_waiting in args.waiting:
            times_ms = measure(num_waiting, args.steps, 300, **scenario)
            middle, high = np.percentile(times_ms, (50, 99))
            print(f"| {name} | {num_waiting} | {middle:.2f} | {high:.2f} |", flush=True)


if __name__ == "__main__":
    main()
