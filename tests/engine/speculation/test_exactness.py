"""Answers with drafts, right and wrong ones, are those without."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.engine_helpers import check_blocks, run_to_end, start
from support.forced_drafts import Answers, Guess, force, mixed, right, wrong
from support.greedy_requests import MakeEngine, Prompts, params, some

from server.engine.engine import LLMEngine
from server.engine.requests.outputs import SequenceOutput
from server.payloads import SamplingParams

GUESSES: dict[str, Callable[[Answers], Guess]] = {
    "right": lambda answers: right(answers, 7),
    "long": lambda answers: right(answers, 31),
    "wrong": lambda answers: wrong(answers, 5),
    "mixed": mixed,
}


def merged(outputs: list[SequenceOutput]) -> dict[tuple[int, int], list[Any]]:
    """The tokens, log probabilities, and end of each choice."""
    found: dict[tuple[int, int], list[Any]] = {}
    for output in outputs:
        assert output.error is None
        choice = found.setdefault((output.request_id, output.index), [[], [], None])
        choice[0] += output.token_ids
        choice[1] += output.logprobs or ()
        choice[2] = output.finish_reason
    return found


def answer(
    engine: LLMEngine, prompts: Prompts, wanted: SamplingParams, **fields: Any
) -> dict[tuple[tuple[int, ...], int], list[Any]]:
    """All choices by their prompt and index."""
    requests = {r.request_id: r for r in start(engine, prompts, wanted, **fields)}
    found = merged(run_to_end(engine))
    return {
        (tuple(requests[number].prompt_token_ids.tolist()), index): choice
        for (number, index), choice in found.items()
    }


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0.8, "seed": 3},
        {"temperature": 1.3, "seed": -5, "top_k": 40, "top_p": 0.9, "min_p": 0.01, "n": 3},
        {"repetition_penalty": 1.3, "frequency_penalty": 0.4, "presence_penalty": 0.2},
        {"temperature": 0.7, "seed": 6, "repetition_penalty": 1.2, "logit_bias": {5: 3.0, 9: -4.0}},
        {"logprobs": 3},
        {"logprobs": 0, "temperature": 0.9, "seed": 8, "n": 2},
        {"max_tokens": 1},
        {"max_tokens": 2},
        {"prompt_logprobs": 1, "max_tokens": 9},
    ],
    ids=str,
)
def test_drafts_change_no_answer(
    make_engine: MakeEngine, prompts: Prompts, fields: dict[str, Any]
) -> None:
    wanted = params(**{"max_tokens": 24, **fields})
    few = some(prompts, 70)
    plain = answer(make_engine(), few, wanted)
    for name, guess in GUESSES.items():
        engine = make_engine(prompt_lookup=True)
        proposer = force(engine, guess({key: tokens for key, (tokens, *_) in plain.items()}))
        drafted = answer(engine, few, wanted)
        assert drafted.keys() == plain.keys()
        for key, (tokens, logprobs, reason) in plain.items():
            found, own_logprobs, own_reason = drafted[key]
            assert (found, own_reason) == (tokens, reason), name
            _check_alike(own_logprobs, logprobs)
        num_accepted = sum(accepted for _, accepted in proposer.verified)
        assert engine.stats.num_accepted_tokens == num_accepted
        if len(tokens) > 2:
            assert engine.stats.num_draft_tokens > 0
            assert (num_accepted == 0) == (name == "wrong")


def _check_alike(found: list[Any], expected: list[Any]) -> None:
    """Compare log probabilities, of the same tokens."""
    assert [entry.token_id for entry in found] == [entry.token_id for entry in expected]
    np.testing.assert_allclose(
        [entry.logprob for entry in found], [entry.logprob for entry in expected], atol=1e-3
    )


def test_right_drafts_save_steps(make_engine: MakeEngine, prompts: Prompts) -> None:
    plain = answer(make_engine(), prompts[4:5], params(49))
    engine = make_engine(prompt_lookup=True)
    force(engine, right({key: tokens for key, (tokens, *_) in plain.items()}, 7))
    answer(engine, prompts[4:5], params(49))
    # The first one comes with the prompt, then eight in each step.
    assert engine.stats.num_steps == 1 + 6
    assert engine.stats.num_accepted_tokens == 6 * 7


@pytest.mark.parametrize("place", [0, 1, 4, 7, 8, 9])
def test_an_answer_ends_within_accepted_drafts(
    make_engine: MakeEngine, prompts: Prompts, place: int
) -> None:
    """Right after the first token, at every place of a run, and at the start of the next one."""
    prompt = prompts[4:5]
    ((tokens, *_),) = answer(make_engine(), prompt, params(24)).values()
    end = tokens[1 + place]
    expected = tokens[: tokens.index(end) + 1]
    engine = make_engine(prompt_lookup=True)
    force(engine, right({(tuple(prompt[0]), 0): tokens}, 7))
    wanted = params(24, stop_token_ids=(end,))
    ((found, _, reason),) = answer(engine, prompt, wanted).values()
    assert (found, reason) == (expected, "stop")


def test_end_tokens_wait_for_min_tokens(make_engine: MakeEngine, prompts: Prompts) -> None:
    ((tokens, *_),) = answer(make_engine(), prompts[4:5], params(24)).values()
    wanted = params(24, stop_token_ids=tuple(set(tokens[2:5])), min_tokens=11)
    plain = answer(make_engine(), prompts[4:5], wanted)
    for guess in GUESSES.values():
        engine = make_engine(prompt_lookup=True)
        force(engine, guess({key: found for key, (found, *_) in plain.items()}))
        assert answer(engine, prompts[4:5], wanted) == plain


def test_bad_words_and_allowed_tokens_hold(make_engine: MakeEngine, prompts: Prompts) -> None:
    ((tokens, *_),) = answer(make_engine(), prompts[4:5], params(24)).values()
    for fields in (
        {"bad_word_ids": (tuple(tokens[3:5]), (tokens[8],))},
        {"allowed_token_ids": tuple(range(3, 60))},
    ):
        wanted = params(24, **fields)
        plain = answer(make_engine(), prompts[4:5], wanted)
        for guess in GUESSES.values():
            engine = make_engine(prompt_lookup=True)
            force(engine, guess({key: found for key, (found, *_) in plain.items()}))
            assert answer(engine, prompts[4:5], wanted) == plain


@pytest.mark.parametrize(
    "fields",
    [
        {"max_num_batched_tokens": 16},
        {"dynamic_split_fuse": False, "max_num_batched_tokens": 320},
        {"num_kv_blocks": 11},
        {"num_kv_blocks": 6, "enable_prefix_caching": True},
        {"max_num_seqs": 1},
    ],
    ids=str,
)
def test_batching_and_preemption_change_no_answer(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, fields: dict[str, Any]
) -> None:
    few = prompts[8:14]
    answers = {(tuple(prompt), 0): tokens for prompt, tokens in zip(few, greedy[8:14], strict=True)}
    engine = make_engine(prompt_lookup=True, **fields)
    force(engine, mixed(answers))
    found = answer(engine, few, params(64))
    assert {key: tokens for key, (tokens, *_) in found.items()} == answers
    assert engine.stats.num_accepted_tokens > 0
    if "num_kv_blocks" in fields:
        assert engine.stats.preemptions > 0


def test_the_prefix_cache_holds_accepted_tokens_only(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    """A second request goes on from what the first one has written, among rejected drafts."""
    engine = make_engine(prompt_lookup=True, enable_prefix_caching=True)
    for index in (5, 7, 9, 12):
        answers = {(tuple(prompts[index]), 0): greedy[index]}
        force(engine, mixed(answers, seed=index))
        ((tokens, *_),) = answer(engine, [prompts[index]], params(64)).values()
        assert tokens == greedy[index]
        longer = prompts[index] + tokens[:-4]
        force(engine, lambda sequence: [])
        (request,) = start(engine, [longer], params(4))
        ((again, *_),) = merged(run_to_end(engine)).values()
        assert again == greedy[index][-4:]
        assert request.num_cached_tokens >= len(longer) - 1 - 4


def test_blocks_are_right_after_every_step(make_engine: MakeEngine, prompts: Prompts) -> None:
    wanted = params(40, temperature=1.0, seed=2, n=2)
    plain = answer(make_engine(), some(prompts, 60), wanted)
    engine = make_engine(prompt_lookup=True, num_kv_blocks=14, enable_prefix_caching=True)
    force(engine, mixed({key: tokens for key, (tokens, *_) in plain.items()}))
    requests = start(engine, some(prompts, 60), wanted)
    for number in range(10_000):
        engine.step()
        check_blocks(engine.kv, engine._requests.sequences)
        if number == 9:
            engine.abort(requests[2].request_id, 1)
            engine.abort(requests[4].request_id)
        if not engine.has_work:
            break
    assert engine.stats.num_accepted_tokens > 0


def test_a_step_that_fails_ends_its_requests_only(
    make_engine: MakeEngine,
    prompts: Prompts,
    greedy: Prompts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = {(tuple(p), 0): tokens for p, tokens in zip(prompts, greedy, strict=True)}
    engine = make_engine(prompt_lookup=True, enable_prefix_caching=True)
    proposer = force(engine, mixed(answers))
    start(engine, prompts[4:8], params(64))
    for _ in range(6):
        engine.step()
    run = engine.runner.run

    def fail(*arguments: Any) -> None:
        run(*arguments)
        raise RuntimeError("a test")

    with monkeypatch.context() as patch:
        patch.setattr(engine.runner, "run", fail)
        outputs = engine.step()
    assert len([o for o in outputs if o.error is not None]) == 4
    assert proposer.num_resets == 1
    assert engine.kv.num_used_blocks == 0
    found = answer(engine, prompts[4:8], params(64))
    assert [tokens for tokens, *_ in found.values()] == greedy[4:8]
