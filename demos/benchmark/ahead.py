"""Time decode steps with and without lookahead.

With lookahead, a step is prepared while the device computes the one before. One engine runs both
kinds in alternating rounds. Prints a Markdown table of medians; ratios are of rounds, with their
quartiles.
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.payloads import SamplingParams

PROMPT = 100
NUM_STEPS = 12
"""Each round has so many of each kind, in a row."""

Times = tuple[float, float]
"""Medians in milliseconds: of whole steps, and of their time without inference."""


@contextmanager
def unprepared(engine: LLMEngine) -> Iterator[None]:
    """Turn the lookahead of an engine off."""

    def no_step(step: ScheduledStep) -> None:
        return None

    look_ahead = engine.scheduler.look_ahead
    engine.scheduler.look_ahead = no_step  # type: ignore[method-assign]
    try:
        yield
    finally:
        engine.scheduler.look_ahead = look_ahead  # type: ignore[method-assign]


def measure(
    engine: LLMEngine, num_sequences: int, num_rounds: int
) -> tuple[list[Times], list[Times]]:
    """The times of each round: without lookahead, and with it.

    Raises ContextLengthError for more rounds than the context has room for.
    """
    # The first ones decode while the prompts of the others are read, at most a step for each.
    max_tokens = 2 * (NUM_STEPS + 1) * num_rounds + num_sequences + 3
    request_ids = _begin(engine, num_sequences, max_tokens)
    plain: list[Times] = []
    prepared: list[Times] = []
    for index in range(num_rounds):
        # The kinds take turns, as the second one in a round has the longer context.
        for is_prepared in (False, True) if index % 2 else (True, False):
            if is_prepared:
                prepared.append(_time_steps(engine))
            else:
                with unprepared(engine):
                    plain.append(_time_steps(engine))
    assert all(map(engine.has_request, request_ids)), "steps became smaller as requests ended"
    for request_id in request_ids:
        engine.abort(request_id)
    return plain, prepared


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


def _time_steps(engine: LLMEngine) -> Times:
    # The kind of the first step depends on the steps before.
    engine.step()
    steps_ms, others_ms = [], []
    for _ in range(NUM_STEPS):
        infer_s, started = engine.stats.infer_s, perf_counter()
        engine.step()
        steps_ms.append(1000 * (perf_counter() - started))
        others_ms.append(steps_ms[-1] - 1000 * (engine.stats.infer_s - infer_s))
    return median(steps_ms), median(others_ms)


def render_row(num_sequences: int, plain: list[Times], prepared: list[Times]) -> str:
    """Render one row of the table."""
    ratios = [after / before for (before, _), (after, _) in zip(plain, prepared, strict=True)]
    low, middle, high = np.percentile(ratios, (25, 50, 75))
    cells = [
        str(num_sequences),
        f"{median(step for step, _ in plain):.2f}",
        f"{middle:.3f} ({low:.3f} - {high:.3f})",
        f"{median(other for _, other in plain):.2f}",
        f"{median(other for _, other in prepared):.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of an exported model")
    parser.add_argument("--plugin_config", type=json.loads, default={})
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=24)
    args = parser.parse_args()
    config = EngineConfig(args.model, plugin_config=args.plugin_config, cache_size=2)
    engine = LLMEngine(config)
    while engine.warm_up.next_s is not None:
        engine.use_idle_moment()
    print(
        "| sequences | step, ms | ratio with lookahead | not inference, ms | with lookahead, ms |"
    )
    print("| --- | --- | --- | --- | --- |")
    for count in args.batch_sizes:
        print(render_row(count, *measure(engine, count, args.rounds)), flush=True)
    engine.close()


if __name__ == "__main__":
    main()
