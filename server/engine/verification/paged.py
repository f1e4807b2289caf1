"""Runs a model on the engine in the ways that could change its answers, and notes what it says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from server.engine.config import EngineConfig, PluginValue
from server.engine.engine import LLMEngine
from server.engine.sequence import EngineRequest
from server.errors import GenerationError
from server.host.model_files import has_encoder
from server.payloads import SamplingParams, TokenIdLogprobs

Ints = npt.NDArray[np.int64]

NUM_GENERATED = 16
SMALL_CHUNK = 48
SPARE_BLOCKS = 8
MIN_BLOCK_SIZE = 16

# Name -> settings of the engine.
MODES: dict[str, dict[str, Any]] = {
    "all prompts in one step": {},
    "prompts in chunks": {"max_num_batched_tokens": SMALL_CHUNK},
    "each prompt alone": {},
    "a prefix from the cache": {"enable_prefix_caching": True, "cache_interval_multiplier": 1},
}


@dataclass(frozen=True, slots=True)
class Observation:
    """What the engine said of `tokens`, from the one at `begin` on."""

    mode: str
    tokens: Ints
    num_prompt_tokens: int
    begin: int
    logprobs: tuple[TokenIdLogprobs, ...]


def observe(
    models_path: Path,
    prompts: Sequence[Ints],
    mode: str,
    plugin_config: dict[str, PluginValue],
) -> Iterator[Observation]:
    """Run all prompts in one of the MODES, greedily. Raises ModelLoadError, GenerationError."""
    num_tokens = sum(map(len, prompts)) + len(prompts) * NUM_GENERATED
    settings = {"max_num_batched_tokens": num_tokens, **MODES[mode]}
    config = EngineConfig(
        models_path,
        plugin_config=plugin_config,
        num_kv_blocks=2 * (num_tokens // MIN_BLOCK_SIZE + len(prompts)) + SPARE_BLOCKS,
        target_inter_token_latency_ms=0,
        **settings,
    )
    engine = LLMEngine(config)
    # An encoder predicts nothing of a prompt.
    reads_prompt = not has_encoder(models_path)
    try:
        if mode == "each prompt alone":
            for prompt in prompts:
                yield from _run(engine, [prompt], mode, reads_prompt)
        elif mode == "a prefix from the cache":
            for _ in _run(engine, prompts, mode, reads_prompt=False):
                pass
            yield from _run(engine, prompts, mode, reads_prompt=False)
            others = [_with_another_end(prompt) for prompt in prompts]
            yield from _run(engine, others, mode, reads_prompt=False)
        else:
            yield from _run(engine, prompts, mode, reads_prompt)
    finally:
        engine.close()


def _with_another_end(prompt: Ints) -> Ints:
    """A prompt that goes on differently after two thirds."""
    num_common = 2 * len(prompt) // 3
    return np.concatenate([prompt[:num_common], prompt[: len(prompt) - num_common]])


def _run(
    engine: LLMEngine, prompts: Sequence[Ints], mode: str, reads_prompt: bool
) -> list[Observation]:
    # A request with log probabilities of its prompt takes nothing from the cache.
    params = SamplingParams(
        temperature=0,
        max_tokens=NUM_GENERATED,
        ignore_eos=True,
        logprobs=1,
        prompt_logprobs=1 if reads_prompt else None,
    )
    requests = [engine.make_request(prompt, params) for prompt in prompts]
    generated: dict[int, list[TokenIdLogprobs]] = {r.request_id: [] for r in requests}
    for request in requests:
        engine.add(request)
    while engine.has_work:
        for output in engine.step():
            if output.error is not None:
                raise GenerationError(str(output.error))
            generated[output.request_id].extend(output.logprobs or ())
    return [_observation(request, generated[request.request_id], mode) for request in requests]


def _observation(
    request: EngineRequest, generated: list[TokenIdLogprobs], mode: str
) -> Observation:
    gathered = request.prompt_logprobs
    prompt = () if gathered is None else tuple(gathered)
    tokens = np.array([*request.prompt_token_ids, *(entry.token_id for entry in generated)])
    num_prompt_tokens = len(request.prompt_token_ids)
    begin = 1 if prompt else num_prompt_tokens
    return Observation(mode, tokens, num_prompt_tokens, begin, (*prompt, *generated))
