"""Time what the engine's thread does in a decode step besides inference, by sampling method.

The model has a single small layer and a large vocabulary, so that nearly all of a step is the
work of the host. Prints a Markdown table: CPU microseconds of the thread between inferences, their
share of a step of a real model (`--step_ms`), and CPU microseconds beside inference. All are
medians of many steps.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from random_model import prepare_ir

from calculators.guided import GrammarCompiler, GrammarConstraint, answer_grammar
from calculators.output_parsers import OutputFormat
from calculators.text.byte_table import load_byte_table
from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.payloads import (
    AnswerFormat,
    GenerationRequest,
    SamplingFields,
    SamplingParams,
    TokenizedPrompt,
)

STEP_MS = {1: 21.0, 8: 28.0, 32: 74.0, 128: 275.0}
"""Decode steps of the Qwen2.5-0.5B shape in int8 on two cores of a Zen 4, by sequences."""

PROMPT_STEP_MS = 190.0
"""A step of NUM_PROMPT_ROWS tokens of a prompt there."""

NUM_PROMPT_ROWS = 220
NUM_WARM_UP_STEPS = 4

SCHEMA: Mapping[str, Any] = {
    "type": "array",
    "minItems": 1000,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "kind": {"enum": ["fox", "crow", "owl"]},
            "age": {"type": "integer"},
            "notes": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "kind", "age"],
        "additionalProperties": False,
    },
}


@dataclass(frozen=True)
class Mode:
    """A sampling method; with `is_guided` answers follow SCHEMA."""

    fields: SamplingFields
    is_guided: bool = False

    def params(self, num_sequences: int) -> SamplingParams:
        """For one request, which has at most so many sequences."""
        few = {
            name: min(value, num_sequences)
            for name, value in self.fields.items()
            if name in ("n", "num_beams")
        }
        return SamplingParams(**{**self.fields, **few}, ignore_eos=True)


def make_modes(vocab_size: int) -> dict[str, Mode]:
    """All methods, with tokens of the middle of the vocabulary where a method names some."""
    some = range(vocab_size // 2, vocab_size // 2 + 100)
    words = tuple((a, b) for a, b in zip(some[:20], some[20:40], strict=True))
    allowed = tuple(range(0, vocab_size, 3))
    return {
        "greedy": Mode({"temperature": 0.0}),
        "temperature": Mode({"temperature": 0.8}),
        "seed": Mode({"temperature": 0.8, "seed": 1}),
        "top_k 50": Mode({"top_k": 50}),
        "top_p 0.9": Mode({"top_p": 0.9}),
        "top_p 0.9, seed": Mode({"top_p": 0.9, "seed": 1}),
        "top_k 50, top_p 0.9, seed": Mode({"top_k": 50, "top_p": 0.9, "seed": 1}),
        "min_p 0.05": Mode({"min_p": 0.05}),
        "penalties": Mode(
            {
                "temperature": 0.0,
                "repetition_penalty": 1.1,
                "frequency_penalty": 0.2,
                "presence_penalty": 0.1,
            }
        ),
        "penalties, temperature": Mode({"repetition_penalty": 1.1}),
        "logit_bias of 100": Mode({"temperature": 0.0, "logit_bias": dict.fromkeys(some, 1.0)}),
        "20 bad words": Mode({"temperature": 0.0, "bad_word_ids": words}),
        "min_tokens": Mode(
            {"temperature": 0.0, "min_tokens": 10**6, "stop_token_ids": tuple(some[:2])}
        ),
        "allowed_token_ids, a third": Mode({"allowed_token_ids": allowed}),
        "logprobs 0": Mode({"temperature": 0.0, "logprobs": 0}),
        "logprobs 1": Mode({"temperature": 0.0, "logprobs": 1}),
        "logprobs 20": Mode({"temperature": 0.0, "logprobs": 20}),
        "JSON schema": Mode({"temperature": 0.0}, is_guided=True),
        "JSON schema, temperature": Mode({"temperature": 0.8}, is_guided=True),
        "JSON schema, penalties": Mode({"repetition_penalty": 1.1}, is_guided=True),
        "n 8": Mode({"n": 8}),
        "4 beams": Mode({"temperature": 0.0, "num_beams": 4}),
        "4 beams, penalties": Mode(
            {"temperature": 0.0, "num_beams": 4, "repetition_penalty": 1.1, "logprobs": 1}
        ),
    }


class HostClock:
    """CPU seconds of this thread in the last step of an engine, without its two inferences."""

    def __init__(self, engine: LLMEngine) -> None:
        self._engine = engine
        self._head_s = self._beside_s = 0.0
        head = engine.runner._head
        head._request = _TimedRequest(head._request, self._note_head)
        engine._overlap = self._timed_overlap(engine._overlap)

    def step(self) -> tuple[float, float, int]:
        """Seconds between inferences, seconds beside the layers' inference, and new outputs."""
        self._head_s = self._beside_s = 0.0
        started = thread_time()
        outputs = self._engine.step()
        spent_s = thread_time() - started
        return spent_s - self._head_s - self._beside_s, self._beside_s, len(outputs)

    def _note_head(self, seconds: float) -> None:
        self._head_s += seconds

    def _timed_overlap(self, overlap: Callable[..., None]) -> Callable[..., None]:
        def timed(*arguments: Any) -> None:
            started = thread_time()
            overlap(*arguments)
            self._beside_s += thread_time() - started

        return timed


class _TimedRequest:
    """An infer request that tells the CPU seconds of each inference."""

    def __init__(self, request: Any, note: Callable[[float], None]) -> None:
        self._request, self._note = request, note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    def infer(self, **options: Any) -> None:
        started = thread_time()
        self._request.infer(**options)
        self._note(thread_time() - started)


@contextmanager
def running(
    engine: LLMEngine,
    mode: Mode,
    num_sequences: int,
    context: int,
    constraint: GrammarConstraint | None,
) -> Iterator[None]:
    """Requests of together so many sequences, all of which decode."""
    rng = np.random.default_rng(num_sequences)
    params = mode.params(num_sequences)
    requests = []
    for _ in range(max(1, num_sequences // params.num_sequences)):
        prompt = rng.integers(0, engine.limits.vocab_size, context).tolist()
        requests.append(engine.make_request(prompt, params, constraint=constraint))
        engine.add(requests[-1])
    num_tokens = 0
    while engine.scheduler.num_waiting or num_tokens != num_sequences:
        before = engine.stats.tokens
        engine.step()
        num_tokens = engine.stats.tokens - before
    try:
        yield
    finally:
        for request in requests:
            engine.abort(request.request_id)


def measure_decode(clock: HostClock, num_steps: int) -> tuple[float, float]:
    """Median microseconds between and beside inferences."""
    for _ in range(NUM_WARM_UP_STEPS):
        clock.step()
    times = [clock.step()[:2] for _ in range(num_steps)]
    between, beside = (1e6 * median(column) for column in zip(*times, strict=True))
    return between, beside


def measure_prompts(engine: LLMEngine, clock: HostClock, num_top: int, num_steps: int) -> float:
    """The same for steps that read a prompt whose log probabilities are asked for."""
    rng = np.random.default_rng(0)
    params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=num_top)
    times = []
    for _ in range(num_steps):
        prompt = rng.integers(0, engine.limits.vocab_size, NUM_PROMPT_ROWS).tolist()
        engine.add(engine.make_request(prompt, params))
        times.append(clock.step()[0])
        while engine.has_work:
            engine.step()
    return 1e6 * median(times[1:])


def compile_schema(
    model: Path, vocab_size: int, end_tokens: Collection[int], schema: Mapping[str, Any]
) -> GrammarConstraint:
    """The constraint of an answer that follows a schema, for the tokens of a model folder."""
    compiler = GrammarCompiler(load_byte_table(model), vocab_size, end_tokens)
    request = GenerationRequest("r", messages=(), answer_format=AnswerFormat("json", schema))
    prompt = TokenizedPrompt(request, (1,), "")
    try:
        return asyncio.run(compiler.compile(lambda: answer_grammar(prompt, OutputFormat())))
    finally:
        compiler.close()


def compile_for(engine: LLMEngine) -> GrammarConstraint:
    """The constraint of an answer that follows SCHEMA."""
    model, ends = engine.config.models_path, engine.info.eos_token_ids
    return compile_schema(model, engine.limits.vocab_size, ends, SCHEMA)


def render_row(name: str, size: int, between: float, beside: float, step_ms: float) -> str:
    """One row of the table."""
    share = 100 * between / (1000 * step_ms)
    return f"| {name} | {size} | {between:.0f} | {share:.2f}% | {beside:.0f} |"


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of an exported model")
    parser.add_argument("--build", type=Path, default=Path("build/benchmark"))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(STEP_MS))
    parser.add_argument(
        "--step_ms", type=float, nargs="+", default=list(STEP_MS.values()), help="for each size"
    )
    parser.add_argument("--modes", nargs="+", help="names of methods, all if not given")
    parser.add_argument("--context", type=int, default=256, help="tokens of each prompt")
    parser.add_argument("--steps", type=int, default=30)
    return parser.parse_args()


def main() -> None:
    """Measure every method at every size, and print each row at once."""
    args = parse_args()
    model = args.model or prepare_ir("wide", "fp16", args.build)
    # Every step must have all sequences.
    config = EngineConfig(
        model, cache_size=1, max_num_batched_tokens=256, target_inter_token_latency_ms=0
    )
    engine = LLMEngine(config)
    clock = HostClock(engine)
    print("| method | sequences | between inferences, us | of a step | beside inference, us |")
    print("| --- | --- | --- | --- | --- |")
    constraint = compile_for(engine)
    modes = make_modes(engine.limits.vocab_size)
    for name, mode in modes.items():
        if args.modes and name not in args.modes:
            continue
        for size, step_ms in zip(args.sizes, args.step_ms, strict=True):
            own = constraint if mode.is_guided else None
            with running(engine, mode, size, args.context, own):
                found = measure_decode(clock, args.steps)
            print(render_row(name, size, *found, step_ms), flush=True)
    for num_top in (0, 20):
        name = f"prompt_logprobs {num_top}"
        if not args.modes or name in args.modes:
            between = measure_prompts(engine, clock, num_top, max(2, args.steps // 3))
            print(render_row(name, NUM_PROMPT_ROWS, between, 0.0, PROMPT_STEP_MS), flush=True)
    engine.close()


if __name__ == "__main__":
    main()
