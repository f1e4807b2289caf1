"""Time steps of the engine alone: no HTTP, no text, every sequence in every step.

Prints a Markdown table with a row for each batch size and one for a prompt: where the time of a
step goes, and how near it comes to what the machine can do (bounds.py).
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from bounds import measure_rates, read_model_sizes

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.payloads import SamplingFields, SamplingParams

NUM_WARM_UP_STEPS = 5
COLUMNS = (
    *("sequences", "step ms (median)", "inference ms", "schedule ms", "pack ms", "sample ms"),
    *("not inference ms", "not inference %", "tok/s"),
    *("reading bound ms", "product bound ms", "of the bound %"),
)
NUM_PROMPTS = 5


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
    return {"median_step_s": median(times_s), "tokens_per_step": num_sequences, **spent_s}


def measure_prefill(engine: LLMEngine, num_tokens: int, seed: int) -> dict[str, float]:
    """Time prompts of that many tokens one after the other, from the first step to the answer.

    A prompt that is longer than the budget takes several steps; they count as one.
    """
    rng = np.random.default_rng((seed, num_tokens, 1))
    times_s = []
    for index in range(NUM_PROMPTS + 1):
        prompt = rng.integers(0, engine.limits.vocab_size, num_tokens)
        params = SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=1)
        engine.add(engine.make_request(prompt.tolist(), params))
        if index == 1:
            before = engine.stats.as_dict()
        started = perf_counter()
        while engine.has_work:
            engine.step()
        times_s.append(perf_counter() - started)
    after = engine.stats.as_dict()
    spent_s = {name: after[name] - before[name] for name in after}
    spent_s["num_steps"] = NUM_PROMPTS
    return {"median_step_s": median(times_s[1:]), "tokens_per_step": num_tokens, **spent_s}


def render_row(
    label: str, measured: Mapping[str, float], reading_s: float, products_s: float
) -> str:
    """Render one row of the table; parts of a step are means, the bounds are in seconds."""
    num_steps = measured["num_steps"]
    host_s = measured["step_s"] - measured["infer_s"]
    parts_ms = [1000 * measured[name] / num_steps for name in ("infer_s", "schedule_s")]
    parts_ms += [1000 * measured[name] / num_steps for name in ("pack_s", "sample_s")]
    cells = [
        label,
        f"{1000 * measured['median_step_s']:.1f}",
        *(f"{part_ms:.2f}" for part_ms in parts_ms),
        f"{1000 * host_s / num_steps:.2f}",
        f"{100 * host_s / measured['step_s']:.1f}",
        f"{measured['tokens_per_step'] / measured['median_step_s']:.0f}",
        f"{1000 * reading_s:.1f}",
        f"{1000 * products_s:.1f}",
        f"{100 * max(reading_s, products_s) / measured['median_step_s']:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of an exported model")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 4, 16, 32, 64])
    parser.add_argument(
        "--prompt", type=int, default=512, help="tokens of the prompt that is timed"
    )
    parser.add_argument("--context", type=int, default=256, help="tokens of each prompt")
    parser.add_argument("--steps", type=int, default=50, help="timed steps of each batch size")
    parser.add_argument("--plugin_config", type=json.loads, default='{"KV_CACHE_PRECISION": "u8"}')
    parser.add_argument(
        "--sampling",
        type=json.loads,
        default='{"temperature": 0}',
        help="how tokens are chosen: fields of SamplingParams, as JSON",
    )
    parser.add_argument("--max_num_batched_tokens", type=int, default=512)
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
    rates = measure_rates()
    sizes = read_model_sizes(args.model)
    print(
        f"Reading {rates.read_bytes_per_s / 1e9:.1f} GB/s; products bf16 "
        f"{rates.bf16_flops / 1e12:.2f}, int8 {rates.int8_flops / 1e12:.2f} TFLOP/s; weights "
        f"{sizes.weight_bytes / 1e6:.0f} MB\n"
    )
    reading_s = sizes.bound_by_reading_s(rates)
    engine = LLMEngine(config)
    try:
        while engine.warm_up.next_s is not None:
            engine.use_idle_moment()
        print("| " + " | ".join(COLUMNS) + " |")
        print("| " + " | ".join(["---"] * len(COLUMNS)) + " |")
        for num_sequences in args.batch_sizes:
            measured = measure_decode(
                engine, num_sequences, args.context, args.steps, args.seed, args.sampling
            )
            products_s = sizes.bound_by_products_s(rates, num_sequences, num_sequences)
            print(render_row(str(num_sequences), measured, reading_s, products_s), flush=True)
        measured = measure_prefill(engine, args.prompt, args.seed)
        products_s = sizes.bound_by_products_s(rates, args.prompt, 1)
        print(render_row(f"prompt of {args.prompt}", measured, reading_s, products_s))
    finally:
        engine.close()


if __name__ == "__main__":
    main()
