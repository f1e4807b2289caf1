"""Beam search with a real model gives the answers of transformers, also when preempted."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.beam_reference import Answers, chat_prompts, generate_with_beams, log_probs_of
from support.engine_helpers import check_blocks, run_to_end, start, tokens_of

from server.engine.engine import LLMEngine
from server.engine.requests.outputs import SequenceOutput
from server.engine.sequence import EngineRequest
from server.errors import ContextLengthError, InvalidRequestError
from server.payloads import SamplingParams

MakeEngine = Callable[..., LLMEngine]
Prompts = list[list[int]]

NUM_TOKENS = 40


@pytest.fixture(scope="session")
def beam_prompts(hf_model: Path, prompts: Prompts) -> Prompts:
    """Six questions, and eight random prompts of lengths around multiples of the block size."""
    return chat_prompts(hf_model) + [prompts[i] for i in (0, 3, 8, 9, 10, 14, 15, 17)]


@pytest.fixture(scope="session")
def reference(hf_model: Path, model_f32: Path, beam_prompts: Prompts) -> Callable[..., Answers]:
    def answer(**config: Any) -> Answers:
        config = {"max_new_tokens": NUM_TOKENS, **config}
        return generate_with_beams(hf_model, model_f32, beam_prompts, **config)

    return answer


def beams(num_beams: int, max_tokens: int | None = NUM_TOKENS, **fields: Any) -> SamplingParams:
    settings = {"temperature": 0.0, "n": num_beams, **fields}
    return SamplingParams(**settings, num_beams=num_beams, max_tokens=max_tokens)


def answers_of(outputs: list[SequenceOutput], requests: list[EngineRequest]) -> Answers:
    return [[tokens_of(outputs, r, index) for index in range(r.params.n)] for r in requests]


def check_all_blocks(engine: LLMEngine) -> None:
    check_blocks(engine.kv, engine._requests.sequences)


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        ({}, {}),
        ({"length_penalty": 2.0}, {"length_penalty": 2.0}),
        ({"length_penalty": -1.5}, {"length_penalty": -1.5}),
        ({"early_stopping": True}, {"early_stopping": True}),
        ({"early_stopping": "never"}, {"early_stopping": "never"}),
        (
            {"early_stopping": "never", "length_penalty": 0.0},
            {"early_stopping": "never", "length_penalty": 0.0},
        ),
        ({"repetition_penalty": 1.3}, {"repetition_penalty": 1.3}),
        ({"min_tokens": 12}, {"min_new_tokens": 12}),
        ({"ignore_eos": True}, {"eos_token_id": None}),
        ({"stop_token_ids": (16, 20)}, {"eos_token_id": [2, 0, 16, 20]}),
        ({"logit_bias": {16: 4.0, 20: -6.0}}, {"sequence_bias": {(16,): 4.0, (20,): -6.0}}),
        ({"max_tokens": 1}, {"max_new_tokens": 1}),
    ],
    ids=str,
)
def test_answers_are_those_of_transformers(
    make_engine: MakeEngine,
    beam_prompts: Prompts,
    reference: Callable[..., Answers],
    fields: dict[str, Any],
    config: dict[str, Any],
) -> None:
    engine = make_engine()
    for num_beams in (2, 3, 4, 5) if not fields else (2, 4):
        requests = start(engine, beam_prompts, beams(num_beams, **fields))
        found = answers_of(run_to_end(engine), requests)
        assert found == reference(num_beams=num_beams, **config)


def test_each_field_changes_an_answer(reference: Callable[..., Answers]) -> None:
    configs: list[dict[str, Any]] = [
        {},
        {"length_penalty": 2.0},
        {"early_stopping": True},
        {"early_stopping": "never"},
    ]
    found = [reference(num_beams=4, **config) for config in configs]
    assert all(a != b for i, a in enumerate(found) for b in found[:i])


@pytest.mark.parametrize("ignore_eos", [False, True])
@pytest.mark.parametrize(
    "fields",
    [
        {"max_num_batched_tokens": 7},
        {"max_num_batched_tokens": 16, "enable_prefix_caching": True},
        {"max_num_seqs": 4},
        {"num_kv_blocks": 14},
        {"num_kv_blocks": 14, "enable_prefix_caching": True},
        {"dynamic_split_fuse": False, "max_num_batched_tokens": 150, "num_kv_blocks": 14},
        {
            "dynamic_split_fuse": False,
            "max_num_batched_tokens": 150,
            "num_kv_blocks": 14,
            "enable_prefix_caching": True,
        },
    ],
    ids=str,
)
def test_batching_and_preemption_do_not_change_the_answers(
    make_engine: MakeEngine,
    beam_prompts: Prompts,
    reference: Callable[..., Answers],
    fields: dict[str, Any],
    ignore_eos: bool,
) -> None:
    engine = make_engine(**fields)
    config = {"eos_token_id": None} if ignore_eos else {}
    for _ in range(1 + engine.config.enable_prefix_caching):
        requests = start(engine, beam_prompts, beams(4, ignore_eos=ignore_eos))
        mates = start(engine, beam_prompts, SamplingParams(max_tokens=30, n=2, ignore_eos=True))
        outputs = []
        while engine.has_work:
            outputs += engine.step()
            check_all_blocks(engine)
        assert answers_of(outputs, requests) == reference(num_beams=4, **config)
        assert all(len(tokens_of(outputs, mate, 1)) == 30 for mate in mates)
    assert (engine.stats.preemptions > 0) is ("num_kv_blocks" in fields)


def test_beams_alone_can_fill_the_cache(make_engine: MakeEngine, beam_prompts: Prompts) -> None:
    prompt = beam_prompts[-1]
    assert len(prompt) == 100, "3 full blocks that all share, and a part of one that each has"
    engine = make_engine(num_kv_blocks=3 + 4 * 2)
    params = beams(4, None, ignore_eos=True)
    (request,) = start(engine, [prompt], params)
    assert request.max_tokens == 2 * 32 - 4 + 1
    num_used = []
    while engine.has_work:
        outputs = engine.step()
        num_used.append(engine.kv.num_used_blocks)
    assert 3 + 4 < max(num_used) <= 11
    assert engine.stats.preemptions == 0
    assert [len(tokens_of(outputs, request, index)) for index in range(4)] == [61] * 4


def test_the_best_come_first_all_at_once_and_only_as_many_as_asked(
    make_engine: MakeEngine, beam_prompts: Prompts, reference: Callable[..., Answers]
) -> None:
    engine = make_engine()
    (request,) = start(engine, beam_prompts[1:2], beams(5, n=2))
    while engine.has_work:
        outputs = engine.step()
        assert bool(outputs) is not engine.has_work
    expected = reference(num_beams=5)[1]
    assert answers_of(outputs, [request]) == [expected[:2]]
    assert [output.index for output in outputs] == [0, 1]
    for output, answer in zip(outputs, expected[:2], strict=True):
        assert output.finish_reason == ("stop" if answer[-1] in (0, 2) else "length")
    assert engine.stats.generated_tokens == sum(map(len, expected[:2]))


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_log_probabilities_of_the_answers_give_their_order(
    make_engine: MakeEngine, beam_prompts: Prompts, length_penalty: float
) -> None:
    engine = make_engine()
    params = beams(4, logprobs=3, length_penalty=length_penalty)
    requests = start(engine, beam_prompts, params)
    outputs = run_to_end(engine)
    for request in requests:
        scores = []
        for index in range(4):
            mine = [o for o in outputs if (o.request_id, o.index) == (request.request_id, index)]
            (answer,) = mine
            entries = answer.logprobs or ()
            assert tuple(entry.token_id for entry in entries) == answer.token_ids
            assert all(len(entry.top) == 3 for entry in entries)
            assert all(entry.logprob <= entry.top[0][1] <= 0 for entry in entries)
            total = math.fsum(entry.logprob for entry in entries)
            scores.append(total / len(entries) ** length_penalty)
        assert scores == sorted(scores, reverse=True)


def test_log_probabilities_are_those_of_the_model_itself(
    make_engine: MakeEngine, beam_prompts: Prompts, hf_model: Path
) -> None:
    engine = make_engine()
    fields: dict[str, Any] = {"logprobs": 0, "repetition_penalty": 1.5, "logit_bias": {16: 5.0}}
    (request,) = start(engine, beam_prompts[:1], beams(3, **fields))
    outputs = run_to_end(engine)
    for index in range(3):
        answer = tokens_of(outputs, request, index)
        entries = outputs[index].logprobs or ()
        found = [entry.logprob for entry in entries]
        assert found == pytest.approx(log_probs_of(hf_model, beam_prompts[0], answer), abs=1e-4)


def test_cached_prefixes_are_used_and_counted(
    make_engine: MakeEngine, beam_prompts: Prompts
) -> None:
    engine = make_engine(enable_prefix_caching=True)
    for expected in (0, 96):
        (request,) = start(engine, beam_prompts[-1:], beams(3))
        outputs = run_to_end(engine)
        assert request.num_cached_tokens == expected
        assert {output.num_cached_tokens for output in outputs} == {expected}
    assert engine.stats.cached_tokens == 96


def test_log_probabilities_of_the_prompt_come_with_the_first_token_of_each_answer(
    make_engine: MakeEngine, beam_prompts: Prompts, reference: Callable[..., Answers]
) -> None:
    engine = make_engine(max_num_batched_tokens=16)
    requests = start(engine, beam_prompts[:2], beams(4, prompt_logprobs=1))
    outputs = run_to_end(engine)
    assert answers_of(outputs, requests) == reference(num_beams=4)[:2]
    told = [output for output in outputs if output.prompt_logprobs is not None]
    expected = [(request.request_id, index) for request in requests for index in range(4)]
    assert sorted((output.request_id, output.index) for output in told) == expected
    assert all(o.prompt_logprobs is not None and o.prompt_logprobs.is_complete for o in told)


def test_an_aborted_search_leaves_nothing(
    make_engine: MakeEngine, beam_prompts: Prompts, reference: Callable[..., Answers]
) -> None:
    engine = make_engine(num_kv_blocks=20, max_num_batched_tokens=48, enable_prefix_caching=True)
    keep = start(engine, beam_prompts[:1], beams(4))
    victims = start(engine, beam_prompts[1:], beams(4))
    outputs = []
    for victim in victims:
        for _ in range(3):
            outputs += engine.step()
            check_all_blocks(engine)
        engine.abort(victim.request_id)
        engine.abort(victim.request_id)
        check_all_blocks(engine)
        assert not engine.has_request(victim.request_id)
    outputs += run_to_end(engine)
    assert answers_of(outputs, keep) == reference(num_beams=4)[:1]


def test_a_search_has_no_choices_to_stop_before_its_end(
    make_engine: MakeEngine, beam_prompts: Prompts, reference: Callable[..., Answers]
) -> None:
    engine = make_engine()
    requests = start(engine, beam_prompts[:1], beams(4))
    outputs = engine.step() + engine.step()
    engine.abort(requests[0].request_id, 1)
    outputs += run_to_end(engine)
    assert answers_of(outputs, requests) == reference(num_beams=4)[:1]


@pytest.mark.parametrize(
    ("num_tokens", "params", "kind", "message"),
    [
        (5, beams(9, 1), InvalidRequestError, "num_beams is 9; this model runs at most 8"),
        (64, beams(8, 34), ContextLengthError, "holds 33 new tokens for each of 8 beams .* 34 is"),
        (70, beams(8, 28), ContextLengthError, "holds 27 new tokens for each of 8 beams .* 28 is"),
        (97, beams(8, None), ContextLengthError, "holds 0 .* at least one is"),
    ],
)
def test_a_search_that_can_never_run_is_refused(
    make_engine: MakeEngine,
    num_tokens: int,
    params: SamplingParams,
    kind: type[Exception],
    message: str,
) -> None:
    engine = make_engine(num_kv_blocks=10, max_num_seqs=8)
    with pytest.raises(kind, match=message):
        engine.make_request([5] * num_tokens, params)
    assert not engine.has_work
