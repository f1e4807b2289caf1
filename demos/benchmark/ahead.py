"""Time decode steps that are prepared while the one before is computed, and steps that are not.

One engine runs both kinds, in alternating rounds. Prints a Markdown table of medians; the ratios
are those of rounds, with their quartiles.
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
"""In a row; each round has as many of each kind."""

Times = tuple[float, float]
"""Medians of some steps, in milliseconds: the whole step, and what of it is not inference."""


@contextmanager
def unprepared(engine: LLMEngine) -> Iterator[None]:
    """Let the engine prepare no step ahead."""

    def foresee_nothing(step: ScheduledStep) -> None:
        return None

    foresee = engine.scheduler.look_ahead
    engine.scheduler.look_ahead = foresee_nothing  # type: ignore[method-assign]
    try:
        yield
    finally:
        engine.scheduler.look_ahead = foresee  # type: ignore[method-assign]


def measure(
    engine: LLMEngine, num_sequences: int, num_rounds: int
) -> tuple[list[Times], list[Times]]:
    """The times of each round: of unprepared steps, and of prepared ones.

    Raises ContextLengthError for more rounds than the context has room for.
    """
    # The first to decode do so while the others' prompts are read, for a step each at the most.
    max_tokens = 2 * (NUM_STEPS + 1) * num_rounds + num_sequences + 3
    request_ids = _begin(engine, num_sequences, max_tokens)
    plain: list[Times] = []
    prepared: list[Times] = []
    for index in range(num_rounds):
        # Whichever came second would always have the longer context.
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
    # The first step still is what the ones before it have made of it.
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
    print("| sequences | step, ms | ratio if prepared | not inference, ms | so if prepared, ms |")
    print("| --- | --- | --- | --- | --- |")
    for count in args.batch_sizes:
        print(render_row(count, *measure(engine, count, args.rounds)), flush=True)
    engine.close()


if __name__ == "__main__":
    main()
