"""Time decode steps of the engine alone: no HTTP, no text, every sequence in every step.

Prints a Markdown table with a row for each batch size: where the time of a step goes.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.payloads import SamplingFields, SamplingParams

NUM_WARM_UP_STEPS = 5
COLUMNS = (
    *("sequences", "step ms (median)", "inference ms", "schedule ms", "pack ms", "sample ms"),
    *("not inference ms", "not inference %", "tok/s"),
)


def measure_decode(
    engine: LLMEngine,
    num_sequences: int,
    context: int,
    num_steps: int,
    seed: int,
    sampling: SamplingFields,
) -> dict[str, float]:
    """Bring `num_sequences` prompts of `context` tokens to decoding, then time that many steps."""
    rng = np.random.default_rng((seed, num_sequences))
    request_ids = []
    for _ in range(num_sequences):
        prompt = rng.integers(0, engine.limits.vocab_size, context)
        params = SamplingParams(**sampling, ignore_eos=True)
        request = engine.make_request(prompt.tolist(), params)
        engine.add(request)
        request_ids.append(request.request_id)
    while len(engine.step()) < num_sequences:
        pass
    for _ in range(NUM_WARM_UP_STEPS):
        engine.step()
    before = engine.stats.as_dict()
    times_s = []
    for _ in range(num_steps):
        started = perf_counter()
        engine.step()
        times_s.append(perf_counter() - started)
    after = engine.stats.as_dict()
    for request_id in request_ids:
        engine.abort(request_id)
    spent_s = {name: after[name] - before[name] for name in after}
    return {"sequences": num_sequences, "median_step_s": median(times_s), **spent_s}


def render_row(measured: Mapping[str, float]) -> str:
    """Render one row of the table; parts of a step are means."""
    num_steps = measured["num_steps"]
    host_s = measured["step_s"] - measured["infer_s"]
    parts_ms = [1000 * measured[name] / num_steps for name in ("infer_s", "schedule_s")]
    parts_ms += [1000 * measured[name] / num_steps for name in ("pack_s", "sample_s")]
    cells = [
        f"{measured['sequences']:.0f}",
        f"{1000 * measured['median_step_s']:.1f}",
        *(f"{part_ms:.2f}" for part_ms in parts_ms),
        f"{1000 * host_s / num_steps:.2f}",
        f"{100 * host_s / measured['step_s']:.1f}",
        f"{measured['sequences'] / measured['median_step_s']:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of an exported model")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 4, 16, 32, 64])
    parser.add_argument("--context", type=int, default=256, help="tokens of each prompt")
    parser.add_argument("--steps", type=int, default=50, help="timed steps of each batch size")
    parser.add_argument("--plugin_config", type=json.loads, default='{"KV_CACHE_PRECISION": "u8"}')
    parser.add_argument(
        "--sampling",
        type=json.loads,
        default='{"temperature": 0}',
        help="how tokens are chosen: fields of SamplingParams, as JSON",
    )
    parser.add_argument("--max_num_batched_tokens", type=int, default=256)
    parser.add_argument("--cache_size", type=int, default=2, help="KV cache in GB")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts")
    return parser.parse_args()


def main() -> None:
    """Measure every batch size and print its row at once."""
    args = parse_args()
    config = EngineConfig(
        models_path=args.model,
        plugin_config=args.plugin_config,
        max_num_batched_tokens=args.max_num_batched_tokens,
        cache_size=args.cache_size,
    )
    engine = LLMEngine(config)
    try:
        print("| " + " | ".join(COLUMNS) + " |")
        print("| " + " | ".join(["---"] * len(COLUMNS)) + " |")
        for num_sequences in args.batch_sizes:
            measured = measure_decode(
                engine, num_sequences, args.context, args.steps, args.seed, args.sampling
            )
            print(render_row(measured), flush=True)
    finally:
        engine.close()


if __name__ == "__main__":
    main()
