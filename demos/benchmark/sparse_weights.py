"""Time decode steps of a W8A8 model with many zero weights, read compressed and uncompressed.

Takes a model that `export_model --quant_mode int8` wrote, and zeroes a random part of each matrix
of its layers in a copy, which is removed again. Prints a Markdown table; each time is a median of
steps in alternating rounds, and the tokens of both ways are compared.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from xml.etree import ElementTree

import numpy as np

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.host.model_files import MODEL_FILE
from server.payloads import SamplingParams

RATE = "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"
ALWAYS, NEVER = 0.0, 1.0
PROMPT = 64
NUM_STEPS = 10
NUM_ROUNDS = 3


def zero_weights(model: Path, part: float) -> int:
    """Zero a random part of the int8 matrices of a model; returns how many matrices it has.

    The largest one is left alone: it is the head, or the embeddings.
    """
    xml = model / MODEL_FILE
    weights = np.memmap(xml.with_suffix(".bin"), np.int8, "r+")
    matrices = sorted(_int8_matrices(xml), key=lambda matrix: matrix[1])[:-1]
    rng = np.random.default_rng(0)
    for offset, size in matrices:
        matrix = weights[offset : offset + size]
        matrix[rng.random(size) < part] = 0
    weights.flush()
    return len(matrices)


def _int8_matrices(xml: Path) -> Iterator[tuple[int, int]]:
    """Offset and number of bytes of each int8 matrix."""
    for layer in ElementTree.parse(xml).iter("layer"):
        data = layer.find("data")
        if layer.get("type") != "Const" or data is None or data.get("element_type") != "i8":
            continue
        shape = [int(size) for size in (data.get("shape") or "").split(",") if size.strip()]
        if len(shape) == 2 and min(shape) > 1:
            yield int(data.get("offset", 0)), int(data.get("size", 0))


def measure(model: Path, batch_sizes: list[int]) -> Iterator[tuple[int, float, float, bool]]:
    """For each batch size: milliseconds read compressed, and not, and whether tokens are equal."""
    engines = {rate: _engine(model, rate) for rate in (ALWAYS, NEVER)}
    for num_sequences in batch_sizes:
        times_s: dict[float, list[float]] = {rate: [] for rate in engines}
        tokens: dict[float, list[tuple[int, ...]]] = {rate: [] for rate in engines}
        for _ in range(NUM_ROUNDS):
            for rate, engine in engines.items():
                _decode(engine, num_sequences, times_s[rate], tokens[rate])
        compressed, plain = (1000 * median(times_s[rate]) for rate in (ALWAYS, NEVER))
        yield num_sequences, compressed, plain, tokens[ALWAYS] == tokens[NEVER]
    for engine in engines.values():
        engine.close()


def _engine(model: Path, rate: float) -> LLMEngine:
    properties = {"KV_CACHE_PRECISION": "u8", RATE: rate}
    engine = LLMEngine(EngineConfig(models_path=model, plugin_config=properties, cache_size=1))
    while engine.warm_up.next_s is not None:
        engine.use_idle_moment()
    return engine


def _decode(
    engine: LLMEngine, num_sequences: int, times_s: list[float], tokens: list[tuple[int, ...]]
) -> None:
    rng = np.random.default_rng(num_sequences)
    params = SamplingParams(temperature=0.0, ignore_eos=True, max_tokens=NUM_STEPS + 4)
    prompts = rng.integers(0, engine.limits.vocab_size, (num_sequences, PROMPT)).tolist()
    for prompt in prompts:
        engine.add(engine.make_request(prompt, params))
    while len(engine.step()) < num_sequences:
        pass
    for _ in range(NUM_STEPS):
        started = perf_counter()
        outputs = engine.step()
        times_s.append(perf_counter() - started)
        tokens += [output.token_ids for output in outputs]
    while engine.has_work:
        engine.step()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a W8A8 export")
    parser.add_argument("--zeros", type=float, nargs="+", default=[0.3, 0.5, 0.65, 0.8])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 4, 16])
    args = parser.parse_args()
    print("| zeros | sequences | compressed, ms | plain, ms | ratio | equal tokens |")
    print("| --- | --- | --- | --- | --- | --- |")
    for part in args.zeros:
        with tempfile.TemporaryDirectory(prefix="sparse_weights_") as folder:
            copy = Path(shutil.copytree(args.model, Path(folder) / "model"))
            if not zero_weights(copy, part):
                parser.error(f"{args.model} has no int8 matrices; --quant_mode int8 writes them")
            for num, compressed, plain, is_equal in measure(copy, args.batch_sizes):
                print(
                    f"| {part:.0%} | {num} | {compressed:.1f} | {plain:.1f} "
                    f"| {compressed / plain:.2f} | {'yes' if is_equal else 'no'} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
