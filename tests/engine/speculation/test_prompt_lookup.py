"""PromptLookup: what it proposes, how sure it is, and the engine with it."""

import logging
from typing import Any

import numpy as np
import pytest
from support.engine_helpers import F32, generate, make_sequence, run_to_end, start, tokens_of
from support.greedy_requests import MakeEngine, Prompts, params, some

from server.engine.speculation.measured_steps import MeasuredSteps
from server.engine.speculation.prompt_lookup import PromptLookup

TEXT = [10, 11, 12, 13, 14, 15, 16, 17, 18]


def test_it_proposes_what_came_before() -> None:
    lookup = PromptLookup()
    repeating, other = make_sequence([*TEXT, 3, *TEXT[:3]]), make_sequence([1, 2, 3, 4])
    assert list(lookup.chances(other, 5)) == []
    assert len(list(lookup.chances(repeating, 5))) == 5
    assert lookup.propose([(repeating, 4)]) == [TEXT[3:7]]


def test_chances_grow_with_the_match() -> None:
    chances = list(PromptLookup().chances(make_sequence([*TEXT, 3, *TEXT[:3]]), 20))
    assert chances == sorted(chances)
    assert chances[0] < 0.5 < chances[-1]


@pytest.mark.parametrize("is_right", [True, False])
def test_it_learns_from_every_token(is_right: bool) -> None:
    lookup = PromptLookup()
    sequence = make_sequence([*TEXT, *TEXT, *TEXT, *TEXT[:2]])
    before = next(iter(lookup.chances(sequence, 1)))
    others = np.random.default_rng(0).integers(10, 14, 100).tolist()
    for number in range(100):
        sequence.append(TEXT[(2 + number) % 9] if is_right else others[number])
        found = list(lookup.chances(sequence, 1))
    assert found
    assert (found[0] > before) == is_right


def test_max_ngram_size_limits_what_is_compared() -> None:
    # After 1 2 3 came 4, and later after 9 2 3 came 5.
    tokens = [1, 2, 3, 4, 9, 2, 3, 5, 7, 1, 2, 3]
    for size, expected in ((2, 5), (3, 4), (None, 4), (1, 5)):
        sequence = make_sequence(tokens, max_ngram_size=size)
        assert PromptLookup().propose([(sequence, 1)]) == [[expected]]


def test_answers_with_prompt_lookup_are_the_same(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where all that is found is drafted, whatever it costs."""
    monkeypatch.setattr(MeasuredSteps, "seconds", lambda *_: 0.03)
    engine = make_engine(prompt_lookup=True)
    assert generate(engine, some(prompts), params()) == some(greedy, 24)
    # A prompt that holds its answer already.
    asked = prompts[4] + greedy[4][:40] + prompts[4]
    (plain,) = generate(make_engine(), [asked], params(64))
    for _ in range(2):
        (found,) = generate(engine, [asked], params(64))
        assert found == plain
    assert engine.stats.num_accepted_tokens > 0


def test_a_request_without_drafts_is_not_looked_at(
    make_engine: MakeEngine, prompts: Prompts
) -> None:
    engine = make_engine(prompt_lookup=True)
    requests = start(engine, some(prompts), params(num_assistant_tokens=0))
    outputs = []
    while engine.has_work:
        outputs += engine.step()
        assert all(s.proposal_state is None for s in engine._requests.sequences)
    assert all(len(tokens_of(outputs, request)) == 24 for request in requests)
    assert engine.stats.num_drafts == 0
    assert engine.stats.prepared_steps > 0


def test_beams_have_no_drafts(make_engine: MakeEngine, prompts: Prompts) -> None:
    wanted = params(12, num_beams=3, n=2)
    answers = []
    for has_lookup in (False, True):
        engine = make_engine(prompt_lookup=has_lookup)
        requests = start(engine, [prompts[4] * 3], wanted)
        outputs = run_to_end(engine)
        answers.append([tokens_of(outputs, requests[0], index) for index in range(2)])
        assert engine.stats.num_drafts == 0
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "properties",
    [
        {"KV_CACHE_PRECISION": "u8"},
        {"KV_CACHE_PRECISION": "u8", "KEY_CACHE_QUANT_MODE": "BY_TOKEN"},
        {"KV_CACHE_PRECISION": "f16"},
        {"KV_CACHE_PRECISION": "f32"},
    ],
    ids=str,
)
def test_every_form_of_cache_keeps_tokens_apart(
    make_engine: MakeEngine, prompts: Prompts, properties: dict[str, Any]
) -> None:
    """Keys of 8 bits are quantised by token there, unless the settings say something else."""
    from support.forced_drafts import force, mixed

    few = prompts[8:13]
    by_token = {"KEY_CACHE_QUANT_MODE": "BY_TOKEN", **F32, **properties}
    plain = generate(make_engine(plugin_config=by_token), few, params(40))
    engine = make_engine(plugin_config={**F32, **properties}, prompt_lookup=True)
    answers = {(tuple(p), 0): tokens for p, tokens in zip(few, plain, strict=True)}
    force(engine, mixed(answers))
    assert generate(engine, few, params(40)) == plain
    assert engine.stats.num_accepted_tokens > 0


def test_keys_that_share_their_scales_have_no_drafts(
    make_engine: MakeEngine, prompts: Prompts, caplog: pytest.LogCaptureFixture
) -> None:
    properties = {**F32, "KV_CACHE_PRECISION": "u8", "KEY_CACHE_QUANT_MODE": "BY_CHANNEL"}
    with caplog.at_level(logging.WARNING):
        engine = make_engine(plugin_config=properties, prompt_lookup=True)
    assert 'plugin_config must have "BY_TOKEN" as KEY_CACHE_QUANT_MODE' in caplog.text
    generate(engine, [prompts[4] * 3], params())
    assert engine.stats.num_drafts == 0
