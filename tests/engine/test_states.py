"""Models with states run as all others do: batches, chunks, prefixes, forks, preemption, faults."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from model_zoo import reference
from support.engine_helpers import F32, generate, run_to_end, start, tokens_of

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.engine.kv.state_cache_manager import StateCacheManager
from server.engine.model import device
from server.engine.model.model_runner import ModelRunner
from server.engine.requests.outputs import SequenceOutput
from server.engine.sequence import EngineRequest
from server.host.memory import RESERVATIONS
from server.payloads import SamplingParams

MakeEngine = Callable[..., LLMEngine]

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
VOCAB_SIZE = 320
BLOCK = 32


@pytest.fixture
def make_hybrid(hybrid_model: Path) -> Iterator[MakeEngine]:
    """Engines that must hold nothing at the end of the test."""
    engines = []

    def make(**fields: Any) -> LLMEngine:
        steady = {"target_inter_token_latency_ms": 0, "max_num_seqs": 16}
        settings = {"plugin_config": F32, "num_kv_blocks": 120, **steady, **fields}
        engines.append(LLMEngine(EngineConfig(hybrid_model, **settings)))
        return engines[-1]

    yield make
    for engine in engines:
        assert not engine.has_work
        assert engine.kv.num_used_blocks == 0
        assert num_used_states(engine) == 0
        engine.close()


def num_used_states(engine: LLMEngine) -> int:
    assert isinstance(engine.kv, StateCacheManager)
    return engine.kv.states.num_blocks - engine.kv.states.num_free


def prompt(length: int, seed: int = 0) -> list[int]:
    tokens: list[int] = np.random.default_rng(seed).integers(3, VOCAB_SIZE, length).tolist()
    return tokens


def follow(engine: LLMEngine, tokens: list[int]) -> tuple[EngineRequest, list[int]]:
    """One greedy answer, and its request."""
    (request,) = start(engine, [tokens], GREEDY)
    return request, tokens_of(run_to_end(engine), request)


def test_answers_are_those_of_transformers(make_hybrid: MakeEngine, hybrid_model: Path) -> None:
    engine = make_hybrid(max_num_batched_tokens=64)
    params = replace(GREEDY, max_tokens=reference.NUM_TOKENS)
    expected = json.loads((hybrid_model / reference.ANSWERS).read_text())
    assert generate(engine, reference.prompts(), params) == expected


@pytest.mark.parametrize("multiplier", [1, 3])
def test_a_cached_prefix_ends_at_a_checkpoint_and_changes_no_answer(
    make_hybrid: MakeEngine, multiplier: int
) -> None:
    cold = make_hybrid()
    warm = make_hybrid(
        enable_prefix_caching=True,
        cache_interval_multiplier=multiplier,
        max_num_batched_tokens=70,
    )
    first = prompt(230)
    follow(warm, first)
    assert warm.status["states"]["checkpoint_interval"] == multiplier * BLOCK
    for num_common in (31, 33, 100, 128, 200):
        tokens = [*first[:num_common], *prompt(40, seed=num_common)]
        request, answer = follow(warm, tokens)
        interval = multiplier * BLOCK
        assert request.num_cached_tokens == num_common // interval * interval
        assert answer == follow(cold, tokens)[1]


def test_the_same_prompt_again_is_found_up_to_its_last_full_block(make_hybrid: MakeEngine) -> None:
    engine = make_hybrid(enable_prefix_caching=True)
    _, answer = follow(engine, prompt(150))
    request, again = follow(engine, prompt(150))
    assert request.num_cached_tokens == 128
    assert again == answer
    # The next turn of a chat goes on behind the prompt that was cached.
    request, _ = follow(engine, [*prompt(150), *answer, *prompt(20, seed=1)])
    assert request.num_cached_tokens == 128


def test_a_short_beginning_that_prompts_share_is_found_from_the_third_on(
    make_hybrid: MakeEngine,
) -> None:
    cold, warm = make_hybrid(), make_hybrid(enable_prefix_caching=True)
    for number, num_cached in enumerate((0, 0, 64, 64)):
        tokens = [*prompt(70), *prompt(60, seed=number + 1)]
        request, answer = follow(warm, tokens)
        assert request.num_cached_tokens == num_cached
        assert answer == follow(cold, tokens)[1]


@pytest.mark.parametrize("params", [{"n": 3, "seed": 5}, {"num_beams": 3, "n": 3}])
@pytest.mark.parametrize("caching", [False, True])
def test_choices_have_the_log_probabilities_of_their_own_tokens(
    make_hybrid: MakeEngine, params: dict[str, Any], caching: bool
) -> None:
    engine = make_hybrid(enable_prefix_caching=caching, max_num_batched_tokens=64)
    temperature = 0.0 if "num_beams" in params else 1.0
    sampled = replace(GREEDY, temperature=temperature, logprobs=0, max_tokens=40, **params)
    requests = start(engine, [prompt(45), prompt(70, seed=1)], sampled)
    outputs = run_to_end(engine)
    for request in requests:
        answers = [tokens_of(outputs, request, index) for index in range(3)]
        assert len(set(map(tuple, answers))) == 3
        for index, answer in enumerate(answers):
            expected = read_logprobs(engine, [*request.prompt_token_ids.tolist(), *answer])
            found = logprobs_of(outputs, request, index)
            np.testing.assert_allclose(found, expected[-len(answer) :], atol=2e-4)


def logprobs_of(outputs: list[SequenceOutput], request: EngineRequest, index: int) -> list[float]:
    mine = [o for o in outputs if (o.request_id, o.index) == (request.request_id, index)]
    return [entry.logprob for o in mine for entry in o.logprobs or ()]


def read_logprobs(engine: LLMEngine, tokens: list[int]) -> list[float]:
    """The log probabilities of a text that is read as a prompt."""
    (request,) = start(engine, [tokens], replace(GREEDY, max_tokens=0, prompt_logprobs=0))
    run_to_end(engine)
    assert request.prompt_logprobs is not None
    return [entry.logprob for entry in request.prompt_logprobs]


@pytest.mark.parametrize("caching", [False, True])
def test_preemption_changes_no_answer(make_hybrid: MakeEngine, caching: bool) -> None:
    prompts = [prompt(40 + 10 * number, seed=number) for number in range(6)]
    params = replace(GREEDY, max_tokens=50)
    expected = generate(make_hybrid(), prompts, params)
    engine = make_hybrid(num_kv_blocks=12, enable_prefix_caching=caching)
    assert generate(engine, prompts, params) == expected
    assert engine.stats.preemptions > 0


def test_an_aborted_request_leaves_no_state(make_hybrid: MakeEngine) -> None:
    engine = make_hybrid(enable_prefix_caching=True, max_num_batched_tokens=40)
    expected = follow(engine, prompt(60, seed=2))[1]
    requests = start(engine, [prompt(90), prompt(60, seed=1)], replace(GREEDY, n=2))
    for request in requests:
        for _ in range(3):
            engine.step()
        engine.abort(request.request_id)
    assert num_used_states(engine) == 0
    assert follow(engine, prompt(60, seed=2))[1] == expected


def test_a_failed_step_leaves_no_state(
    make_hybrid: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_hybrid(enable_prefix_caching=True)
    _, expected = follow(engine, prompt(100))
    real = ModelRunner.run

    def fail(runner: ModelRunner, *arguments: Any) -> Any:
        real(runner, *arguments)
        raise RuntimeError("a fault in the test")

    monkeypatch.setattr(ModelRunner, "run", fail)
    start(engine, [prompt(100)], GREEDY)
    assert [output.error is None for output in run_to_end(engine)] == [False]
    monkeypatch.setattr(ModelRunner, "run", real)
    request, answer = follow(engine, prompt(100))
    assert request.num_cached_tokens == 0
    assert answer == expected


def test_decoding_is_looked_ahead_to(make_hybrid: MakeEngine) -> None:
    engine = make_hybrid(enable_prefix_caching=True)
    generate(engine, [prompt(20), prompt(30, seed=1)], replace(GREEDY, max_tokens=60))
    assert engine.stats.prepared_steps > 40


def test_states_take_their_part_of_the_cache(make_hybrid: MakeEngine) -> None:
    engine = make_hybrid(num_kv_blocks=0, cache_size=1, enable_prefix_caching=True)
    assert isinstance(engine.kv, StateCacheManager)
    kv_bytes = engine.num_blocks * 2 * 2 * BLOCK * 16 * 4
    states = engine.status["states"]
    assert 0.99 * 2**30 < kv_bytes + states["bytes"] <= 2**30
    assert states["bytes"] == engine.kv.states.num_blocks * 4 * (128 * 4 + 4 * 16 * 16)


def test_num_kv_blocks_overrides_cache_size(make_hybrid: MakeEngine) -> None:
    engine = make_hybrid(num_kv_blocks=20, cache_size=10**6)
    assert (engine.num_blocks, engine.limits.max_num_seqs) == (20, 16)


def test_as_many_sequences_run_as_have_room_for_their_states(
    make_hybrid: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state has 6 kB, and 150 kB are for the cache: half of them hold 2 x 6 states."""
    free = 300_000 + RESERVATIONS.total_bytes
    monkeypatch.setattr(device, "available_bytes", lambda: free)
    engine = make_hybrid(num_kv_blocks=0)
    assert engine.limits.max_num_seqs == engine.status["states"]["max_num_seqs"] == 6
    prompts = [prompt(5, seed=seed) for seed in range(9)]
    assert len(generate(engine, prompts, GREEDY)) == 9


def test_states_are_kept_in_the_precision_of_the_model(make_hybrid: MakeEngine) -> None:
    types = {table.element_type for table in make_hybrid().runner._model.state_tables}
    assert types == {ov.Type.f32}
