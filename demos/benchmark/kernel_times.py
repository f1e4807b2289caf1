"""Print which kernels of the plugin take the time of decode steps.

The engine runs alone, every sequence in every step. What is not in a kernel is the plugin's work
between kernels, and the engine's own. Counting takes a little time, too.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import openvino as ov

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.payloads import SamplingParams

NUM_STEPS = 30
Kernel = tuple[str, str, str]
"""Part of the model ("layers" or "head"), type of node, implementation."""
Node = tuple[str, str]
"""Part of the model, name of the node."""


@dataclass(frozen=True)
class KernelTimes:
    """Milliseconds of an average step: the whole, and in each kernel, with its number of nodes."""

    step_ms: float
    kernels: Mapping[Kernel, tuple[float, int]]


@contextmanager
def counted_inferences() -> Iterator[Counter[int]]:
    """How often each infer request, by its id, has run since the block began."""
    counts: Counter[int] = Counter()

    def counting(run: Callable[..., Any]) -> Callable[..., Any]:
        def count(self: ov.InferRequest, *args: Any, **options: Any) -> Any:
            counts[id(self)] += 1
            return run(self, *args, **options)

        return count

    infer, start_async = ov.InferRequest.infer, ov.InferRequest.start_async
    ov.InferRequest.infer, ov.InferRequest.start_async = counting(infer), counting(start_async)
    try:
        yield counts
    finally:
        ov.InferRequest.infer, ov.InferRequest.start_async = infer, start_async


def measure(
    model: Path, plugin_config: Mapping[str, Any], num_sequences: int, context: int
) -> KernelTimes:
    """Time decode steps of that many sequences, whose prompts have `context` tokens."""
    properties = {**plugin_config, "PERF_COUNT": True}
    with counted_inferences() as counts:
        engine = LLMEngine(EngineConfig(model, plugin_config=properties, cache_size=1))
        try:
            while engine.warm_up.next_s is not None:
                engine.use_idle_moment()
            _begin(engine, num_sequences, context)
            before = _seconds_so_far(engine, counts)
            started = perf_counter()
            for _ in range(NUM_STEPS):
                engine.step()
            step_ms = 1000 * (perf_counter() - started) / NUM_STEPS
            return KernelTimes(step_ms, _sum_up(before, _seconds_so_far(engine, counts)))
        finally:
            engine.close()


def _begin(engine: LLMEngine, num_sequences: int, context: int) -> None:
    params = SamplingParams(temperature=0.0, ignore_eos=True)
    rng = np.random.default_rng(0)
    for prompt in rng.integers(0, engine.limits.vocab_size, (num_sequences, context)).tolist():
        engine.add(engine.make_request(prompt, params))
    while len(engine.step()) < num_sequences:
        pass


def _seconds_so_far(engine: LLMEngine, counts: Counter[int]) -> dict[Node, tuple[Kernel, float]]:
    """The total time of each node since the model was compiled; the plugin reports means.

    The implementation is the last one: it may change with the shape.
    """
    parts = {"layers": engine.runner._layers, "head": engine.runner._head._request}
    return {
        (part, node.node_name): (
            (part, node.node_type, node.exec_type),
            node.real_time.total_seconds() * counts[id(request)],
        )
        for part, request in parts.items()
        for node in request.get_profiling_info()
        if node.status == ov.ProfilingInfo.Status.EXECUTED
    }


def _sum_up(
    before: Mapping[Node, tuple[Kernel, float]], after: Mapping[Node, tuple[Kernel, float]]
) -> dict[Kernel, tuple[float, int]]:
    found: defaultdict[Kernel, list[float]] = defaultdict(list)
    for node, (kernel, seconds) in after.items():
        _, seconds_before = before.get(node, (kernel, 0.0))
        found[kernel].append(1000 * (seconds - seconds_before) / NUM_STEPS)
    return {kernel: (sum(times_ms), len(times_ms)) for kernel, times_ms in found.items()}


def render(times: KernelTimes, num_sequences: int, least_ms: float = 0.1) -> str:
    """A Markdown table; kernels below `least_ms` are in one row."""
    lines = [f"| {num_sequences} sequences | nodes | ms | % |", "| --- | --- | --- | --- |"]
    rest_ms = sum(ms for ms, _ in times.kernels.values() if ms < least_ms)
    between_ms = times.step_ms - sum(ms for ms, _ in times.kernels.values())
    ranked = sorted(times.kernels.items(), key=lambda item: -item[1][0])
    rows = [(" ".join(kernel), str(nodes), ms) for kernel, (ms, nodes) in ranked if ms >= least_ms]
    rows += [("other kernels", "", rest_ms), ("between kernels", "", between_ms)]
    for title, nodes, ms in [*rows, ("step", "", times.step_ms)]:
        lines.append(f"| {title} | {nodes} | {ms:.2f} | {100 * ms / times.step_ms:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of an exported model")
    parser.add_argument("--plugin_config", type=json.loads, default={"KV_CACHE_PRECISION": "u8"})
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 16, 32])
    parser.add_argument("--context", type=int, default=256, help="tokens of each prompt")
    args = parser.parse_args()
    for num_sequences in args.batch_sizes:
        times = measure(args.model, args.plugin_config, num_sequences, args.context)
        print(render(times, num_sequences), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
