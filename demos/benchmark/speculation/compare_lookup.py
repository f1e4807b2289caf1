"""Compare prompt lookup with openvino-genai's, on the same model and prompts, in one process.

Each prompt is asked again after its own answer, so that a model can copy the answer. All engines
answer all prompts once in each round, in turn; prints medians of their tokens per second, and of
the ratios to this project's engine with prompt lookup. openvino-genai guesses a fixed number of
tokens, so several are tried. The bundled model, about two minutes:

    python demos/benchmark/speculation/compare_lookup.py

A model of any size, with random tokens as prompts, whose greedy answers soon repeat themselves:

    python demos/benchmark/speculation/compare_lookup.py --model FOLDER --random --max_tokens 96
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from draft_model import BUNDLED, STORIES
from rounds import Prompts, encode_questions, run

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.payloads import SamplingParams

PROMPT_TOKENS = 128
NGRAM_SIZE = 3
OURS, PLAIN = "server, prompt lookup", "server, plain"

Answer = Callable[[Prompts], tuple[int, float]]
"""Answers prompts one after the other; returns the number of tokens and the seconds."""


def answer_by_engine(engine: LLMEngine, max_tokens: int, num_drafts: int | None) -> Answer:
    """This project's engine; it counts all time from the request to the last token."""
    params = SamplingParams(
        temperature=0.0, max_tokens=max_tokens, ignore_eos=True, num_assistant_tokens=num_drafts
    )

    def answer(prompts: Prompts) -> tuple[int, float]:
        began = perf_counter()
        num_tokens = sum(len(run(engine, [prompt], params)[1][0]) for prompt in prompts)
        return num_tokens, perf_counter() - began

    return answer


def load_pipeline(model: Path, plugin_config: Mapping[str, Any], with_lookup: bool) -> Any:
    """openvino-genai's pipeline of continuous batching, as this engine: without a prefix cache."""
    import openvino_genai  # type: ignore[import-untyped]  # it has no stubs

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 1
    scheduler.dynamic_split_fuse = True
    properties = {**plugin_config, **({"prompt_lookup": True} if with_lookup else {})}
    return openvino_genai.ContinuousBatchingPipeline(str(model), scheduler, "CPU", properties)


def answer_by_pipeline(pipeline: Any, max_tokens: int, num_drafts: int) -> Answer:
    """The pipeline, which gives answers as tokens."""
    import openvino
    import openvino_genai

    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = max_tokens
    config.ignore_eos = True
    config.do_sample = False
    if num_drafts:
        config.num_assistant_tokens = num_drafts
        config.max_ngram_size = NGRAM_SIZE

    def answer(prompts: Prompts) -> tuple[int, float]:
        num_tokens = 0
        began = perf_counter()
        for prompt in prompts:
            tokens = openvino.Tensor(np.array([prompt], np.int64))
            (result,) = pipeline.generate([tokens], [config])
            num_tokens += len(result.m_generation_ids[0])
        return num_tokens, perf_counter() - began

    return answer


def make_prompts(engine: LLMEngine, args: argparse.Namespace) -> Prompts:
    """Prompts, each with its own answer and itself once more behind it."""
    if args.random:
        rng = np.random.default_rng(0)
        shape = args.prompts, PROMPT_TOKENS
        firsts: Prompts = rng.integers(0, engine.limits.vocab_size, shape).tolist()
    else:
        firsts = encode_questions(args.model, STORIES, args.prompts)
    params = SamplingParams(temperature=0.0, max_tokens=args.max_tokens, num_assistant_tokens=0)
    answers = [run(engine, [prompt], params)[1][0] for prompt in firsts]
    return [[*first, *given, *first] for first, given in zip(firsts, answers, strict=True)]


def compare(contenders: Mapping[str, Answer], prompts: Prompts, rounds: int) -> list[str]:
    """Rows of a table, one for each contender; a first round is left out."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds + 1):
        for name in names if number % 2 else reversed(names):
            num_tokens, seconds = contenders[name](prompts)
            if number:
                speeds[name].append(num_tokens / seconds)
    rows = []
    for name in names:
        ratios = [ours / its for ours, its in zip(speeds[OURS], speeds[name], strict=True)]
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"
        rows.append(f"| {name} | {median(speeds[name]):.0f} | {spread} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=BUNDLED, help="folder of an exported model")
    parser.add_argument("--plugin_config", type=json.loads, default={})
    parser.add_argument("--random", action="store_true", help="prompts of random tokens")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--max_tokens", type=int, default=128)
    parser.add_argument("--num_drafts", type=int, nargs="+", default=[5, 10], help="of the other")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    engine = LLMEngine(
        EngineConfig(args.model, plugin_config=args.plugin_config, cache_size=1, prompt_lookup=True)
    )
    prompts = make_prompts(engine, args)
    contenders = {
        OURS: answer_by_engine(engine, args.max_tokens, None),
        PLAIN: answer_by_engine(engine, args.max_tokens, 0),
    }
    plain = load_pipeline(args.model, args.plugin_config, with_lookup=False)
    contenders["openvino-genai, plain"] = answer_by_pipeline(plain, args.max_tokens, 0)
    pipeline = load_pipeline(args.model, args.plugin_config, with_lookup=True)
    for count in args.num_drafts:
        name = f"openvino-genai, prompt lookup of {count}"
        contenders[name] = answer_by_pipeline(pipeline, args.max_tokens, count)
    print(f"| engine | output tok/s | {OURS}, in ratio |\n| --- | --- | --- |")
    print("\n".join(compare(contenders, prompts, args.rounds)))
    engine.close()


if __name__ == "__main__":
    main()
