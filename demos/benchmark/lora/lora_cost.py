"""Measure what LoRA adapters cost: one engine with branches for them, one without, in turn.

    python demos/benchmark/lora/lora_cost.py models/m --adapters 8 --rank 16 --rounds 5

Both engines are in one process and get the same requests, as many at once as there are streams. A
round is plain requests on both, then requests that name the adapters in turn. The figures are
medians of the ratios of a round, by wall time and by the processor time of the process, which
other work on the machine changes less.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from make_adapters import ATTENTION, make_adapters  # noqa: E402

from server.engine import AdapterSettings, AdapterSource, EngineConfig, LLMEngine  # noqa: E402
from server.payloads import SamplingParams  # noqa: E402

NUM_PROMPT_TOKENS = 110
NUM_ANSWER_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a round: wall time, and time of all processors."""

    wall_s: float
    processor_s: float


def run_round(engine: LLMEngine, num_streams: int, names: Sequence[str], seed: int) -> Cost:
    """Answer one request of each stream; they have the adapters `names` in turn."""
    random = np.random.default_rng(seed)
    vocab_size = engine.limits.vocab_size
    params = SamplingParams(temperature=0, max_tokens=NUM_ANSWER_TOKENS, ignore_eos=True)
    for number in range(num_streams):
        prompt = random.integers(3, vocab_size, NUM_PROMPT_TOKENS).tolist()
        adapter = names[number % len(names)] if names else ""
        engine.add(engine.make_request(prompt, params, adapter=adapter))
    wall, processor = perf_counter(), process_time()
    while engine.has_work:
        engine.step()
    return Cost(perf_counter() - wall, process_time() - processor)


def ratio(costs: Sequence[Cost], base: Sequence[Cost]) -> str:
    """The medians of the ratios of rounds, above 1 where it is slower."""
    pairs = list(zip(costs, base, strict=True))
    wall = statistics.median(one.wall_s / other.wall_s for one, other in pairs)
    processor = statistics.median(one.processor_s / other.processor_s for one, other in pairs)
    return f"{wall:.3f} of the wall time, {processor:.3f} of the processor time"


def main() -> None:
    """Read the command line, measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--modules", default=",".join(ATTENTION), help="ends of names of layers")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plugin_config", default="{}", help="OpenVINO properties as JSON")
    arguments = parser.parse_args()
    properties = json.loads(arguments.plugin_config)
    with tempfile.TemporaryDirectory() as folder:
        modules = tuple(arguments.modules.split(","))
        paths = make_adapters(
            arguments.model, Path(folder), arguments.adapters, arguments.rank, modules
        )
        sources = tuple(AdapterSource(path.name, path) for path in paths)
        plain, adapted = (
            LLMEngine(
                EngineConfig(
                    arguments.model,
                    device="CPU",
                    plugin_config=properties,
                    num_kv_blocks=arguments.streams * 8,
                    adapters=settings,
                )
            )
            for settings in (AdapterSettings(), AdapterSettings(sources))
        )
    names = [source.name for source in sources]
    rounds: dict[str, list[Cost]] = {"none": [], "branches": [], "adapters": []}
    for number in range(arguments.rounds + 1):
        for label, engine, used in (
            ("none", plain, []),
            ("branches", adapted, []),
            ("adapters", adapted, names),
        ):
            cost = run_round(engine, arguments.streams, used, number)
            if number:  # the first round makes kernels
                rounds[label].append(cost)
        if number:
            spent = {label: round(costs[-1].wall_s, 2) for label, costs in rounds.items()}
            print(f"round {number}: seconds {spent}", flush=True)
    print(f"branches, plain requests: {ratio(rounds['branches'], rounds['none'])}")
    print(f"{len(names)} adapters: {ratio(rounds['adapters'], rounds['none'])}")


if __name__ == "__main__":
    main()
