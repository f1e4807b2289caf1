"""Time decode steps with work of Python before the inference, beside it, and without any.

Tells what it could win to prepare the next step while one is computed: work that an inference hides
costs nothing beside it, work that takes a core from it costs there what it does before it. The
engine runs alone. Prints a Markdown table; what is added are medians over alternating rounds.
"""

import argparse
import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time

import numpy as np

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.payloads import SamplingParams

PROMPT = 100
NUM_STEPS = 12
"""In a row; each round has as many of each kind."""


def work(milliseconds: float) -> None:
    """Small calls of NumPy, as packing and scheduling are, for so long on this thread's clock."""
    end = thread_time() + milliseconds / 1000
    while thread_time() < end:
        np.concatenate([np.zeros(4), np.ones(4)])


def measure(
    engine: LLMEngine, num_sequences: int, work_ms: float, num_rounds: int
) -> tuple[float, float, float]:
    """Milliseconds of a step, and what work before it and beside its inference adds.

    Raises ContextLengthError for more rounds than the context has room for.
    """

    def before() -> None:
        work(work_ms)
        engine.step()

    def beside() -> None:
        done: list[Future[None]] = []
        engine.step(lambda: done.append(worker.submit(work, work_ms)))
        done[0].result()

    request_ids = _begin(engine, num_sequences, max_tokens=4 * NUM_STEPS * num_rounds)
    steps_ms, before_ms, beside_ms = [], [], []
    with ThreadPoolExecutor(1) as worker:
        for _ in range(num_rounds):
            steps_ms.append(_median_ms(engine.step))
            before_ms.append(_median_ms(before) - steps_ms[-1])
            beside_ms.append(_median_ms(beside) - steps_ms[-1])
    for request_id in request_ids:
        engine.abort(request_id)
    return median(steps_ms), median(before_ms), median(beside_ms)


def _begin(engine: LLMEngine, num_sequences: int, max_tokens: int) -> list[int]:
    """Step until so many requests decode; returns their numbers."""
    params = SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=max_tokens)
    prompts = np.random.default_rng(0).integers(
        0, engine.limits.vocab_size, (num_sequences, PROMPT)
    )
    requests = [engine.make_request(prompt, params) for prompt in prompts.tolist()]
    for request in requests:
        engine.add(request)
    while len(engine.step()) < num_sequences:
        pass
    return [request.request_id for request in requests]


def _median_ms(step: Callable[[], object]) -> float:
    times_s = []
    for _ in range(NUM_STEPS):
        started = perf_counter()
        step()
        times_s.append(perf_counter() - started)
    return 1000 * median(times_s)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of an exported model")
    parser.add_argument("--plugin_config", type=json.loads, default={})
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--work_ms", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=12)
    args = parser.parse_args()
    config = EngineConfig(args.model, plugin_config=args.plugin_config, cache_size=2)
    engine = LLMEngine(config)
    print("| sequences | step, ms | work, ms | adds before it, ms | adds beside it, ms |")
    print("| --- | --- | --- | --- | --- |")
    for count in args.batch_sizes:
        step, before, beside = measure(engine, count, args.work_ms, args.rounds)
        line = f"| {count} | {step:.1f} | {args.work_ms:.1f} | {before:.2f} | {beside:.2f} |"
        print(line, flush=True)
    engine.close()


if __name__ == "__main__":
    main()
