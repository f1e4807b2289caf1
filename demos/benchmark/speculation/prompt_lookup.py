"""Compare answers with prompt lookup and without it, by alternating rounds in one engine.

Four loads: `again` repeats a prompt after its own answer, so that a model can copy the answer;
`copy` makes any model repeat its prompt, with every 25th token changed, as one that edits would;
`greedy` and `random`, at temperature 1, are what the model itself makes of its prompts. `copy` does
all sampling as well, and then takes another token. Prints a Markdown table of medians.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from rounds import HEADER, Prompts, Run, alternate, encode_questions, run, table_row

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.engine.requests import accepted_runs
from server.payloads import SamplingParams

LOADS = ("again", "copy", "greedy", "random")
PROMPT_TOKENS = 256
CHANGE_EVERY = 25


@contextmanager
def copying(vocab_size: int) -> Iterator[None]:
    """Let every answer be its prompt, with some tokens changed, whatever is sampled."""
    sample = accepted_runs.sample

    def copy(logits, sequences, rows=None):  # type: ignore[no-untyped-def]
        sampled = sample(logits, sequences, rows)
        seen: Counter[object] = Counter()
        for number, sequence in enumerate(sequences):
            # Rows of the same sequence are those of its drafts.
            place = sequence.num_generated_tokens + seen[sequence]
            seen[sequence] += 1
            token = int(sequence.request.prompt_token_ids[place % sequence.num_prompt_tokens])
            token = (token + (place % CHANGE_EVERY == CHANGE_EVERY - 1)) % vocab_size
            sampled[number] = replace(sampled[number], token_id=token)
        return sampled

    accepted_runs.sample = copy
    try:
        yield
    finally:
        accepted_runs.sample = sample


def prepare(engine: LLMEngine, load: str, prompts: Prompts, max_tokens: int) -> Prompts:
    """The prompts of a load."""
    if load != "again":
        return prompts
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens, num_assistant_tokens=0)
    _, answers = run(engine, prompts, params)
    return [[*prompt, *answer, *prompt] for prompt, answer in zip(prompts, answers, strict=True)]


def measure(engine: LLMEngine, load: str, prompts: Prompts, max_tokens: int, rounds: int) -> str:
    """One row of the table."""
    prompts = prepare(engine, load, prompts, max_tokens)

    def do(number: int, with_drafts: bool) -> Run:
        params = SamplingParams(
            temperature=1.0 if load == "random" else 0.0,
            seed=number,
            max_tokens=max_tokens,
            ignore_eos=load != "again",
            num_assistant_tokens=None if with_drafts else 0,
        )
        if load != "copy":
            return run(engine, prompts, params)[0]
        with copying(engine.limits.vocab_size):
            return run(engine, prompts, params)[0]

    return table_row(load, len(prompts), alternate(do, rounds))


def make_prompts(engine: LLMEngine, model: Path, texts: Sequence[str], count: int) -> Prompts:
    """The texts as ChatML questions; random tokens without any."""
    if not texts:
        rng = np.random.default_rng(0)
        shape = count, PROMPT_TOKENS
        found: Prompts = rng.integers(0, engine.limits.vocab_size, shape).tolist()
        return found
    return encode_questions(model, texts, count)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of an exported model")
    parser.add_argument("--plugin_config", type=json.loads, default={})
    parser.add_argument("--loads", choices=LOADS, nargs="+", default=LOADS)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--questions", nargs="+", default=[], help="instead of random tokens")
    parser.add_argument("--max_tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    config = EngineConfig(
        args.model, plugin_config=args.plugin_config, cache_size=2, prompt_lookup=True
    )
    engine = LLMEngine(config)
    print(HEADER)
    for load in args.loads:
        for count in args.batch_sizes:
            prompts = make_prompts(engine, args.model, args.questions, count)
            print(measure(engine, load, prompts, args.max_tokens, args.rounds), flush=True)
    engine.close()


if __name__ == "__main__":
    main()
