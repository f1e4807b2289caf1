"""Answers of engines with adapters, and what they should be."""

from collections.abc import Callable, Sequence
from typing import Any

from support.adapters.reference import ADAPTERS, NUM_TOKENS, prompts
from support.engine_helpers import run_to_end, start, tokens_of

from server.engine import LLMEngine
from server.payloads import SamplingParams

PARAMS = SamplingParams(temperature=0, max_tokens=NUM_TOKENS, ignore_eos=True, logprobs=1)
NAMES = tuple(f"a{number}" for number in range(len(ADAPTERS)))

Open = Callable[..., LLMEngine]
Answers = Callable[[str, str], list[Any]]


def answer(
    engine: LLMEngine, adapters: Sequence[str], params: SamplingParams = PARAMS
) -> list[tuple[list[int], list[float]]]:
    """The tokens and log probabilities of prompts with these adapters, all run together."""
    requests = []
    for number, adapter in enumerate(adapters):
        prompt = prompts()[number % len(prompts())]
        requests += start(engine, [prompt], params, adapter=adapter)
    outputs = run_to_end(engine)
    logprobs: dict[int, list[float]] = {request.request_id: [] for request in requests}
    for output in outputs:
        entries = output.logprobs or ()
        logprobs[output.request_id] += [e.logprob for e in entries if e.logprob is not None]
    return [(tokens_of(outputs, request), logprobs[request.request_id]) for request in requests]


def expected(answers: Answers, kind: str, adapters: Sequence[str]) -> list[Any]:
    found = []
    for number, adapter in enumerate(adapters):
        found.append(answers(kind, adapter)[number % len(prompts())])
    return found
