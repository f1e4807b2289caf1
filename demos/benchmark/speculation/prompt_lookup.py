"""Compare answers with prompt lookup and without it, by alternating rounds in one engine.

Four loads: `again` repeats a prompt after its own answer, so that a model can copy the answer;
`copy` makes any model repeat its prompt, with every 25th token changed, as one that edits would;
`greedy` and `random`, at temperature 1, are what the model itself makes of its prompts. `copy` does
all sampling as well, and then takes another token. Prints a Markdown table of medians.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.engine.requests import accepted_runs
from server.payloads import SamplingParams

LOADS = ("again", "copy", "greedy", "random")
PROMPT_TOKENS = 256
CHANGE_EVERY = 25

Prompts = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Run:
    """What one round of a load took."""

    num_tokens: int
    wall_s: float
    cpu_s: float
    num_steps: int
    num_drafts: int
    num_accepted: int


def run(engine: LLMEngine, prompts: Prompts, params: SamplingParams) -> tuple[Run, list[list[int]]]:
    """Answer all prompts at once; returns the times from the first token on, and the answers."""
    stats = engine.stats
    requests = [engine.make_request(prompt, params) for prompt in prompts]
    answers: dict[int, list[int]] = {request.request_id: [] for request in requests}
    for request in requests:
        engine.add(request)
    while not all(answers.values()):
        for output in engine.step():
            answers[output.request_id] += output.token_ids
    before = stats.generated_tokens, stats.num_steps, stats.num_draft_tokens
    accepted = stats.num_accepted_tokens
    wall, cpu = perf_counter(), process_time()
    while engine.has_work:
        for output in engine.step():
            answers[output.request_id] += output.token_ids
    done = Run(
        stats.generated_tokens - before[0],
        perf_counter() - wall,
        process_time() - cpu,
        stats.num_steps - before[1],
        stats.num_draft_tokens - before[2],
        stats.num_accepted_tokens - accepted,
    )
    return done, list(answers.values())


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
    plain: list[Run] = []
    drafted: list[Run] = []
    for number in range(rounds + 1):
        for with_drafts in (False, True) if number % 2 else (True, False):
            params = SamplingParams(
                temperature=1.0 if load == "random" else 0.0,
                seed=number,
                max_tokens=max_tokens,
                ignore_eos=load != "again",
                num_assistant_tokens=None if with_drafts else 0,
            )
            if load == "copy":
                with copying(engine.limits.vocab_size):
                    done, _ = run(engine, prompts, params)
            else:
                done, _ = run(engine, prompts, params)
            # The first round of each kind is for sizes that no step had before.
            if number:
                (drafted if with_drafts else plain).append(done)
    pairs = list(zip(plain, drafted, strict=True))
    wall = [(a.wall_s / a.num_tokens) / (b.wall_s / b.num_tokens) for a, b in pairs]
    cpu = [(a.cpu_s / a.num_tokens) / (b.cpu_s / b.num_tokens) for a, b in pairs]
    per_step = sum(b.num_tokens for b in drafted) / sum(b.num_steps for b in drafted)
    num_drafts = sum(b.num_drafts for b in drafted)
    accepted = sum(b.num_accepted for b in drafted)
    cells = [
        load,
        str(len(prompts)),
        f"{median(a.num_tokens / a.wall_s for a in plain):.0f}",
        f"{median(wall):.2f} ({min(wall):.2f} - {max(wall):.2f})",
        f"{median(cpu):.2f}",
        f"{per_step:.2f}",
        f"{accepted / num_drafts:.2f} of {num_drafts}" if num_drafts else "no drafts",
    ]
    return "| " + " | ".join(cells) + " |"


def make_prompts(engine: LLMEngine, model: Path, texts: Sequence[str], count: int) -> Prompts:
    """The texts as ChatML questions; random tokens without any."""
    if not texts:
        rng = np.random.default_rng(0)
        shape = count, PROMPT_TOKENS
        found: Prompts = rng.integers(0, engine.limits.vocab_size, shape).tolist()
        return found
    from tokenizers import Tokenizer  # type: ignore[import-untyped]  # it has no stubs

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    form = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    return [
        tokenizer.encode(form.format(texts[i % len(texts)]), add_special_tokens=False).ids
        for i in range(count)
    ]


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
    print("| load | streams | plain, tok/s | ratio | of CPU time | tokens per step | accepted |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for load in args.loads:
        for count in args.batch_sizes:
            prompts = make_prompts(engine, args.model, args.questions, count)
            print(measure(engine, load, prompts, args.max_tokens, args.rounds), flush=True)
    engine.close()


if __name__ == "__main__":
    main()
