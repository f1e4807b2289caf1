"""Compares the engine with transformers on a model of the zoo, in every way of running."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from model_zoo import reference
from model_zoo.reference import NUM_TOKENS, prompts
from support.engine_helpers import F32, generate, run_to_end, start, tokens_of

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.engine.model.stateful.stateful_runner import StatefulRunner
from server.engine.requests.outputs import SequenceOutput
from server.payloads import SamplingParams, TokenIdLogprobs

Floats = npt.NDArray[np.float32]

MAX_DIFFERENCE = 1e-3
"""Of log probabilities in f32. Rounding makes differences of about 1e-5."""

MAX_INT8_DIFFERENCE = 0.3
"""Of log probabilities on average, with int8 weights and a u8 cache."""

COLUMNS = (
    "load",
    "batched",
    "alone",
    "n > 1",
    "prompt logprobs",
    "chunked",
    "prefix cache",
    "preemption",
    "int8, u8 cache",
)
GREEDY = SamplingParams(temperature=0, max_tokens=NUM_TOKENS, ignore_eos=True)
SAMPLED = replace(GREEDY, temperature=1, seed=1, logprobs=0)
NUM_CHOICES = 2
# With longrope, a text that has grown beyond the original length is not what it is as a prompt.
SAMPLED_LENGTHS = (5, 16, 17, 100, 150)
U8_CACHE = {"KV_CACHE_PRECISION": "u8", "INFERENCE_PRECISION_HINT": "f32"}
FEW_BLOCKS = 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a cell of the table says, and whether it is right."""

    text: str
    is_right: bool


def make_models(folder: Path, names: Sequence[str]) -> None:
    """Make models in folders of their names, in a process of its own: torch keeps threads."""
    script = [sys.executable, "-m", reference.__name__, str(folder), *names]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@contextmanager
def open_engine(folder: Path, **settings: Any) -> Iterator[LLMEngine]:
    """An engine that rounds nothing."""
    plain = {"max_num_batched_tokens": 1024, "num_kv_blocks": 200, "plugin_config": F32}
    config = EngineConfig(folder, target_inter_token_latency_ms=0, **{**plain, **settings})
    engine = LLMEngine(config)
    try:
        yield engine
    finally:
        engine.close()


def outcomes(folder: Path) -> Iterator[tuple[str, Outcome]]:
    """The cells of a model's row, each when it is known, in the order of COLUMNS."""
    with open_engine(folder) as engine:
        is_paged = not isinstance(engine.runner, StatefulRunner)
        yield "load", Outcome("paged" if is_paged else "slower path", True)
        yield "batched", _greedy(folder, generate(engine, prompts(), GREEDY))
        alone = [generate(engine, [prompt], GREEDY)[0] for prompt in prompts()]
        yield "alone", _greedy(folder, alone)
        has_encoder = engine.limits.encoder is not None
        # Models with an encoder make one choice at a time.
        yield "n > 1", Outcome("", True) if has_encoder else _several_choices(engine)
        distances = _answer_distances if has_encoder else _distances
        worst = float(distances(folder, engine).max())
        yield "prompt logprobs", Outcome(f"{worst:.0e}", worst < MAX_DIFFERENCE)
    with open_engine(folder, max_num_batched_tokens=64) as engine:
        yield "chunked", _greedy(folder, generate(engine, prompts(), GREEDY))
    with open_engine(folder, enable_prefix_caching=True) as engine:
        generate(engine, prompts(), GREEDY)
        yield "prefix cache", _greedy(folder, generate(engine, prompts(), GREEDY))
    with open_engine(folder, num_kv_blocks=FEW_BLOCKS) as engine:
        outcome = _greedy(folder, generate(engine, prompts(), GREEDY))
        # On the slower path, a sequence has all the memory that it may need when it starts.
        has_preempted = engine.stats.preemptions > 0 or not is_paged
        yield "preemption", outcome if has_preempted else Outcome("none", False)
    if has_encoder:
        yield "int8, u8 cache", Outcome("", True)
        return
    with open_engine(folder / reference.INT8, plugin_config=U8_CACHE) as engine:
        mean = float(_distances(folder, engine).mean())
        yield "int8, u8 cache", Outcome(f"{mean:.2f}", mean < MAX_INT8_DIFFERENCE)


def _several_choices(engine: LLMEngine) -> Outcome:
    """Sampled choices: the first is what it is alone, and all have their log probabilities.

    A token is right if both hold for it in all choices of its prompt.
    """
    texts = prompts(SAMPLED_LENGTHS)
    alone = generate(engine, texts, SAMPLED)
    requests = start(engine, texts, replace(SAMPLED, n=NUM_CHOICES))
    outputs = run_to_end(engine)
    is_right = []
    for prompt, request, first in zip(texts, requests, alone, strict=True):
        differences = [
            _differences_of(engine, prompt, outputs, (request.request_id, index))
            for index in range(NUM_CHOICES)
        ]
        is_equal = np.equal(tokens_of(outputs, request), first)
        is_right += list(is_equal & (np.max(differences, axis=0) < MAX_DIFFERENCE))
    return _count(is_right)


def _differences_of(
    engine: LLMEngine, prompt: list[int], outputs: list[SequenceOutput], choice: tuple[int, int]
) -> Floats:
    """f32[tokens]: how far a choice's log probabilities are from those of it as a prompt."""
    mine = [output for output in outputs if (output.request_id, output.index) == choice]
    found = [entry for output in mine for entry in output.logprobs or ()]
    read = _read(engine, [[*prompt, *(entry.token_id for entry in found)]])[0][-len(found) :]
    return np.abs(_logprobs(found) - _logprobs(read))


def _greedy(folder: Path, found: list[list[int]]) -> Outcome:
    expected = json.loads((folder / reference.ANSWERS).read_text())
    pairs = [pair for row in zip(found, expected, strict=True) for pair in zip(*row, strict=True)]
    return _count([one == other for one, other in pairs])


def _count(is_right: list[bool]) -> Outcome:
    return Outcome(str(sum(is_right)), all(is_right))


def _distances(folder: Path, engine: LLMEngine) -> Floats:
    """f32[tokens]: how far log probabilities of the prompts' tokens are from transformers'."""
    with np.load(folder / reference.LOGPROBS) as arrays:
        expected = [arrays[name] for name in arrays.files]
    distances = []
    for rows, entries in zip(expected, _read(engine, prompts()), strict=True):
        ids = [entry.token_id for entry in entries]
        distances.append(np.abs(_logprobs(entries) - rows[range(len(ids)), ids]))
    return np.nan_to_num(np.concatenate(distances), nan=np.inf)


def _answer_distances(folder: Path, engine: LLMEngine) -> Floats:
    """f32[tokens]: how far log probabilities of the answers' tokens are from transformers'."""
    with np.load(folder / reference.LOGPROBS) as arrays:
        expected = [arrays[name] for name in arrays.files]
    requests = start(engine, prompts(), replace(GREEDY, logprobs=0))
    outputs = run_to_end(engine)
    distances = []
    for rows, request in zip(expected, requests, strict=True):
        mine = [output for output in outputs if output.request_id == request.request_id]
        entries = [entry for output in mine for entry in output.logprobs or ()]
        ids = [entry.token_id for entry in entries]
        distances.append(np.abs(_logprobs(entries) - rows[range(len(ids)), ids]))
    return np.nan_to_num(np.concatenate(distances), nan=np.inf)


def _read(engine: LLMEngine, texts: list[list[int]]) -> list[tuple[TokenIdLogprobs, ...]]:
    """What the model says of each token of texts but the first."""
    requests = start(engine, texts, replace(GREEDY, max_tokens=1, prompt_logprobs=0))
    run_to_end(engine)
    gathered = [request.prompt_logprobs for request in requests]
    return [tuple(logprobs) for logprobs in gathered if logprobs is not None]


def _logprobs(entries: Sequence[TokenIdLogprobs]) -> Floats:
    return np.array([entry.logprob for entry in entries], np.float32)
