"""Rounds of one engine with guesses and without, which take turns, and what they tell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from server.engine.engine import LLMEngine
from server.payloads import SamplingParams

Prompts = Sequence[Sequence[int]]

HEADER = (
    "| load | streams | plain, tok/s | ratio | of CPU time | tokens per step | accepted |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


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


def alternate(do: Callable[[int, bool], Run], rounds: int) -> list[tuple[Run, Run]]:
    """Call `do(number, with_drafts)` both ways in each round; returns pairs: without, and with.

    A first round is left out: it is for sizes that no step had before.
    """
    pairs = []
    for number in range(rounds + 1):
        order = (False, True) if number % 2 else (True, False)
        done = {with_drafts: do(number, with_drafts) for with_drafts in order}
        pairs.append((done[False], done[True]))
    return pairs[1:]


def table_row(load: str, num_streams: int, pairs: Sequence[tuple[Run, Run]]) -> str:
    """One row of the table: medians of the ratios of rounds."""
    plain, drafted = zip(*pairs, strict=True)
    wall = [(a.wall_s / a.num_tokens) / (b.wall_s / b.num_tokens) for a, b in pairs]
    cpu = [(a.cpu_s / a.num_tokens) / (b.cpu_s / b.num_tokens) for a, b in pairs]
    per_step = sum(b.num_tokens for b in drafted) / sum(b.num_steps for b in drafted)
    num_drafts = sum(b.num_drafts for b in drafted)
    accepted = sum(b.num_accepted for b in drafted)
    cells = [
        load,
        str(num_streams),
        f"{median(a.num_tokens / a.wall_s for a in plain):.0f}",
        f"{median(wall):.2f} ({min(wall):.2f} - {max(wall):.2f})",
        f"{median(cpu):.2f}",
        f"{per_step:.2f}",
        f"{accepted / num_drafts:.2f} of {num_drafts}" if num_drafts else "no drafts",
    ]
    return "| " + " | ".join(cells) + " |"


def encode_questions(model: Path, questions: Sequence[str], count: int) -> Prompts:
    """So many of these questions in ChatML, repeated where there are fewer."""
    from tokenizers import Tokenizer  # type: ignore[import-untyped]  # it has no stubs

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    form = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    return [
        tokenizer.encode(form.format(questions[i % len(questions)]), add_special_tokens=False).ids
        for i in range(count)
    ]
