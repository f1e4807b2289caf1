"""LLMEngine with a real model: effects of the fields of a request, and refused values."""

from dataclasses import replace
from typing import Any

import pytest
from support.engine_helpers import check_blocks, generate, run_to_end, start, tokens_of
from support.greedy_requests import MakeEngine, Prompts, params, some

from server.engine.model.model_info import read_model_info
from server.errors import ContextLengthError, InvalidRequestError


def test_without_max_tokens_it_goes_on_to_the_end_of_the_cache(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine(num_kv_blocks=4)
    (request,) = start(engine, [prompts[17]], params(None))
    outputs = run_to_end(engine)
    assert tokens_of(outputs, request) == greedy[17][:29]
    assert outputs[-1].finish_reason == "length"


def test_the_context_of_the_model_limits_too(
    make_engine: MakeEngine, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "server.engine.engine.read_model_info",
        lambda path: replace(read_model_info(path), max_model_len=40),
    )
    engine = make_engine()
    (request,) = start(engine, [prompts[11]], params(None))
    assert len(tokens_of(run_to_end(engine), request)) == 6
    with pytest.raises(ContextLengthError, match="the model's context holds 40"):
        engine.make_request(prompts[11], params(7))


def let_answers_end(monkeypatch: pytest.MonkeyPatch, *token_ids: int) -> None:
    """Engines that are made after this take these tokens for the ends of answers."""
    monkeypatch.setattr(
        "server.engine.engine.read_model_info",
        lambda path: replace(read_model_info(path), eos_token_ids=frozenset(token_ids)),
    )


def test_an_end_token_ends_the_answer_unless_ignored(
    make_engine: MakeEngine,
    prompts: Prompts,
    greedy: Prompts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = greedy[15]
    end = answer[6]
    let_answers_end(monkeypatch, end)
    engine = make_engine()
    (request,) = start(engine, [prompts[15]], params(ignore_eos=False))
    outputs = run_to_end(engine)
    assert tokens_of(outputs, request) == answer[: answer.index(end) + 1]
    assert [o.finish_reason for o in outputs] == [None] * (len(outputs) - 1) + ["stop"]
    (request,) = start(engine, [prompts[15]], params())
    outputs = run_to_end(engine)
    assert tokens_of(outputs, request) == answer[:24]
    assert outputs[-1].finish_reason == "length"


def test_stop_token_ids_end_an_answer_also_where_the_models_own_are_ignored(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine()
    answer = greedy[15]
    stops = (answer[6], 2047)
    (request,) = start(engine, [prompts[15]], params(stop_token_ids=stops, ignore_eos=True))
    outputs = run_to_end(engine)
    assert tokens_of(outputs, request) == answer[: answer.index(answer[6]) + 1]
    assert outputs[-1].finish_reason == "stop"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_has_at_least_min_tokens(
    make_engine: MakeEngine,
    prompts: Prompts,
    temperature: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Every other token would end it.
    ends = frozenset(range(0, 2048, 2))
    let_answers_end(monkeypatch, *ends)
    engine = make_engine()
    assert engine.limits.vocab_size == 2048
    for num_min in (0, 1, 5):
        asked = params(
            24, temperature=temperature, seed=1, min_tokens=num_min, ignore_eos=False, n=3
        )
        (request,) = start(engine, [prompts[10]], asked)
        outputs = run_to_end(engine)
        for index in range(3):
            tokens = tokens_of(outputs, request, index)
            assert not ends & set(tokens[:num_min])
            assert num_min <= len(tokens) <= 24
            assert [token in ends for token in tokens[num_min:-1]] == [False] * max(
                0, len(tokens) - num_min - 1
            )
        if temperature:
            assert outputs[-1].finish_reason == "stop"


def test_a_bias_leads_to_other_tokens(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine()
    banned = greedy[15][0]
    (tokens,) = generate(engine, [prompts[15]], params(8, logit_bias={banned: -100}))
    assert banned not in tokens
    (tokens,) = generate(engine, [prompts[15]], params(8, logit_bias={77: 100}))
    assert tokens == [77] * 8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"logit_bias": {2048: 1.0}},
            "logit_bias has the token id 2048; the model knows 0 to 2047",
        ),
        ({"logit_bias": {-1: 1.0}}, "logit_bias has the token id -1"),
        ({"stop_token_ids": (5, 2048)}, "stop_token_ids has the token id 2048"),
        ({"stop_token_ids": (-1,)}, "stop_token_ids has the token id -1"),
    ],
)
def test_unknown_tokens_in_a_field_are_refused(
    make_engine: MakeEngine, fields: dict[str, Any], message: str
) -> None:
    engine = make_engine()
    with pytest.raises(InvalidRequestError, match=message) as error:
        engine.make_request([1], params(**fields))
    assert error.value.param == next(iter(fields))
    engine.make_request([1], params(logit_bias={2047: 1.0, 0: 1.0}, stop_token_ids=(0, 2047)))


def test_a_salt_keeps_prefixes_apart(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine(enable_prefix_caching=True)
    found = []
    for salt in (b"", b"a", b"b", b"a", b""):
        (request,) = start(engine, [prompts[19]], params(4), cache_salt=salt)
        assert tokens_of(run_to_end(engine), request) == greedy[19][:4]
        found.append(request.num_cached_tokens)
    assert found == [0, 0, 0, 127, 127]


def test_a_lower_priority_answers_first(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine(max_num_seqs=1)
    requests = [
        start(engine, [prompts[3]], params(3), priority=priority)[0] for priority in (2, 1, 0)
    ]
    finished = [o.request_id for o in run_to_end(engine) if o.finish_reason is not None]
    assert finished == [request.request_id for request in reversed(requests)]


def test_logprobs_come_with_the_tokens(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine()
    start(engine, [prompts[5]], params(3, logprobs=2))
    for output in run_to_end(engine):
        assert output.logprobs is not None
        (entry,) = output.logprobs
        assert (entry.token_id,) == output.token_ids
        assert entry.token_id == entry.top[0][0]
        assert entry.logprob == entry.top[0][1] <= 0


@pytest.mark.parametrize(
    ("tokens", "fields", "kind", "message"),
    [
        ([], {}, InvalidRequestError, "the prompt has no tokens"),
        ([1, -1], {}, InvalidRequestError, "token id -1; the model knows 0 to"),
        ([10**6], {}, InvalidRequestError, "token id 1000000; the model knows 0 to"),
        ([2**70], {}, InvalidRequestError, "a token id beyond 64 bits"),
        ([5], {"n": 9}, InvalidRequestError, "n is 9; this model runs at most 8 sequences"),
        ([5] * 129, {}, ContextLengthError, "129 tokens; the KV cache .* holds 129"),
        ([5] * 100, {"max_tokens": 30}, ContextLengthError, "together 130; the KV cache"),
    ],
)
def test_requests_that_cannot_work_are_refused(
    make_engine: MakeEngine,
    tokens: list[int],
    fields: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    engine = make_engine(num_kv_blocks=4, max_num_seqs=8)
    with pytest.raises(kind, match=message):
        engine.make_request(tokens, params(**{"max_tokens": 1, **fields}))
    assert not engine.has_work


def test_without_split_fuse_a_prompt_must_fit_the_budget(make_engine: MakeEngine) -> None:
    engine = make_engine(dynamic_split_fuse=False, max_num_batched_tokens=50)
    with pytest.raises(ContextLengthError, match=r"51 tokens; without dynamic_split_fuse .* is 50"):
        engine.make_request([5] * 51, params())


def test_aborted_in_mid_flight_requests_leave_nothing(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine(num_kv_blocks=20, max_num_batched_tokens=32, enable_prefix_caching=True)
    keep = start(engine, [prompts[15]], params())
    victims = start(engine, some(prompts), params(n=2))
    outputs = []
    for victim in victims:
        outputs += [*engine.step(), *engine.step()]
        engine.abort(victim.request_id)
        engine.abort(victim.request_id)
        sequences = engine._requests.sequences
        check_blocks(engine.kv, sequences)
        assert not engine.has_request(victim.request_id)
    outputs += run_to_end(engine)
    assert tokens_of(outputs, keep[0]) == greedy[15][:24]


def test_one_choice_can_be_aborted(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine()
    (request,) = start(engine, [prompts[10]], params(n=3))
    outputs = engine.step() + engine.step()
    engine.abort(request.request_id, 1)
    engine.abort(request.request_id, 1)
    outputs += run_to_end(engine)
    assert [len(tokens_of(outputs, request, index)) for index in range(3)] == [24, 2, 24]
    assert tokens_of(outputs, request, 2) == greedy[10][:24]
