"""Answers with a draft model are those without, and its drafts are mostly right."""

import logging
from pathlib import Path
from typing import Any

import pytest
from support.engine_helpers import check_blocks, make_sequence, run_to_end, start
from support.greedy_requests import MakeEngine, Prompts, params, some

from server.engine.config import DraftConfig
from server.engine.engine import LLMEngine
from server.engine.model.model_runner import ModelRunner
from server.engine.requests.outputs import SequenceOutput
from server.engine.sequence import Sequence
from server.engine.speculation.draft_model import DraftModel
from server.engine.speculation.draft_sequence import DraftSequence
from server.payloads import SamplingParams

COUNT = 4


def always_draft(engine: LLMEngine, count: int = COUNT) -> DraftModel:
    """Let every step ask for drafts, whatever the speed of this machine."""
    speculation = engine._speculation
    assert speculation is not None
    most_drafts = speculation._planner._most_drafts

    def plan(decoding: list[Sequence]) -> dict[Sequence, int]:
        counts = {s: min(most_drafts(s), count) for s in decoding}
        return {s: n for s, n in counts.items() if n > 0 and proposer.chances(s, n)}

    engine.scheduler._plan_drafts = plan
    proposer = speculation.proposer
    assert isinstance(proposer, DraftModel)
    proposer._is_worth_reading = lambda *_: True  # type: ignore[method-assign]
    return proposer


def failure_of(engine: LLMEngine) -> object:
    described: Any = engine.describe_speculation()["speculation"]
    return described.get("failure")


def tokens_of(outputs: list[SequenceOutput]) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = {}
    for output in outputs:
        assert output.error is None
        found.setdefault((output.request_id, output.index), []).extend(output.token_ids)
    return found


def answers(engine: LLMEngine, prompts: Prompts, wanted: SamplingParams) -> list[list[int]]:
    """The tokens of each choice of each prompt, in order."""
    start(engine, prompts, wanted)
    found = tokens_of(run_to_end(engine))
    return [found[key] for key in sorted(found)]


def share_accepted(engine: LLMEngine) -> float:
    return engine.stats.num_accepted_tokens / engine.stats.num_draft_tokens


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("trained", {}),
        ("noise", {"logprobs": 2}),
        ("noise", {"temperature": 0.8, "seed": 3}),
        ("trained", {"temperature": 1.3, "seed": -5, "top_k": 40, "min_p": 0.01, "n": 3}),
        ("trained", {"temperature": 0.7, "seed": 6, "repetition_penalty": 1.2}),
    ],
    ids=str,
)
def test_a_draft_model_changes_no_answer(
    make_engine: MakeEngine,
    prompts: Prompts,
    draft_f32: Path,
    noise_f32: Path,
    kind: str,
    fields: dict[str, Any],
) -> None:
    wanted = params(16, **fields)
    plain = answers(make_engine(), some(prompts, 100), wanted)
    folder = draft_f32 if kind == "trained" else noise_f32
    engine = make_engine(draft=DraftConfig(folder))
    always_draft(engine)
    assert answers(engine, some(prompts, 100), wanted) == plain
    assert not failure_of(engine)
    assert engine.stats.num_draft_tokens > 0
    assert engine.stats.num_drafts <= engine.stats.num_draft_tokens
    if kind == "noise":
        assert share_accepted(engine) < 0.2


def test_a_trained_draft_is_mostly_right(
    make_engine: MakeEngine, model_f32: Path, draft_f32: Path
) -> None:
    from calculators.text.tokenizer import Tokenizer

    text = "<|im_start|>user\nCount from 3 to 12.<|im_end|>\n<|im_start|>assistant\n"
    prompt = list(Tokenizer(model_f32).encode(text, add_special_tokens=False))
    engine = make_engine(draft=DraftConfig(draft_f32))
    always_draft(engine)
    (answer,) = answers(engine, [prompt], params(40, ignore_eos=False))
    assert share_accepted(engine) > 0.6
    assert engine.stats.num_steps < len(answer) / 2


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 1.0},
        {"temperature": 1.0, "seed": 3},
        {"temperature": 0.9, "top_p": 0.8},
        {"temperature": 1.2, "seed": 5, "frequency_penalty": 0.5, "n": 2},
    ],
    ids=str,
)
def test_a_draft_uses_the_random_numbers_of_its_model(
    make_engine: MakeEngine, prompts: Prompts, model_f32: Path, fields: dict[str, Any]
) -> None:
    """So a model that is its own draft has all of its drafts accepted, at any temperature."""
    engine = make_engine(draft=DraftConfig(model_f32))
    always_draft(engine)
    answers(engine, some(prompts, 60), params(**fields))
    assert engine.stats.num_draft_tokens > 50
    assert share_accepted(engine) > 0.97
    assert engine.stats.num_steps < 24


@pytest.mark.parametrize("fields", [{}, {"temperature": 0.9, "seed": 4, "top_p": 0.9}], ids=str)
def test_inputs_changed_in_place_give_the_drafts_of_packed_ones(
    make_engine: MakeEngine,
    prompts: Prompts,
    draft_f32: Path,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
) -> None:
    """Prompts of other lengths end their blocks, and have enough drafts, at other times."""
    proposed = []
    for can_advance in (True, False):
        engine = make_engine(draft=DraftConfig(draft_f32))
        proposer = always_draft(engine, 12)
        monkeypatch.setattr(ModelRunner, "can_advance", can_advance)
        propose, found = proposer.propose, []

        def note(wanted: Any, propose: Any = propose, found: list[Any] = found) -> Any:
            # Every second sequence has enough earlier.
            wanted = [(s, max(1, n - 5 * (i % 2))) for i, (s, n) in enumerate(wanted)]
            found.append(propose(wanted))
            return found[-1]

        proposer.propose = note  # type: ignore[method-assign]
        answers(engine, prompts[:5], params(40, **fields))
        proposed.append(found)
    assert proposed[0] == proposed[1]
    assert max(len(drafts) for step in proposed[0] for drafts in step) == 12


def test_thirty_requests_at_once(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, draft_f32: Path
) -> None:
    engine = make_engine(draft=DraftConfig(draft_f32), enable_prefix_caching=True)
    always_draft(engine)
    found = answers(engine, (prompts * 2)[:30], params(10))
    assert found == [answer[:10] for answer in (greedy * 2)[:30]]
    assert engine.stats.num_accepted_tokens > 0
    check_blocks(engine.kv, [])


def test_preempted_sequences_go_on_with_drafts(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, draft_f32: Path
) -> None:
    engine = make_engine(draft=DraftConfig(draft_f32), num_kv_blocks=6)
    always_draft(engine)
    assert answers(engine, prompts[8:14], params(64)) == greedy[8:14]
    assert engine.stats.preemptions > 0
    assert engine.stats.num_accepted_tokens > 0
    check_blocks(engine.kv, [])


def test_what_the_prefix_cache_has_is_not_read_again(
    make_engine: MakeEngine, prompts: Prompts, draft_f32: Path
) -> None:
    engine = make_engine(draft=DraftConfig(draft_f32), enable_prefix_caching=True)
    proposer = always_draft(engine)
    longest = prompts[-1]
    sizes: list[int] = []
    run = proposer._runner.run

    def note(step: Any, *rest: Any) -> Any:
        sizes.append(step.num_tokens)
        return run(step, *rest)

    proposer._runner.run = note  # type: ignore[method-assign]
    first = answers(engine, [longest], params(8))
    assert max(sizes) > 200
    sizes.clear()
    assert answers(engine, [longest], params(8)) == first
    assert max(sizes) < 40


def test_a_long_prompt_is_read_in_chunks_while_others_have_drafts(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, draft_f32: Path
) -> None:
    engine = make_engine(draft=DraftConfig(draft_f32, max_num_batched_tokens=48))
    proposer = always_draft(engine)
    sizes: list[int] = []
    run = proposer._runner.run

    def note(step: Any, *rest: Any) -> Any:
        sizes.append(step.num_tokens)
        return run(step, *rest)

    proposer._runner.run = note  # type: ignore[method-assign]
    found = answers(engine, [prompts[-1], prompts[4]], params(24))
    assert found == [greedy[-1][:24], greedy[4][:24]]
    assert max(sizes) <= 48 + 32
    assert len([size for size in sizes if size >= 48]) >= 6


def test_only_some_sequences_may_have_drafts(
    make_engine: MakeEngine, prompts: Prompts, draft_f32: Path
) -> None:
    engine = make_engine(draft=DraftConfig(draft_f32, max_num_seqs=2))
    proposer = always_draft(engine)
    counts: list[int] = []
    propose = proposer.propose

    def note(wanted: Any) -> Any:
        found = propose(wanted)
        counts.append(sum(map(bool, found)))
        return found

    proposer.propose = note  # type: ignore[method-assign]
    answers(engine, some(prompts, 40), params(12))
    assert max(counts) == 2


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"num_assistant_tokens": 0}, 0),
        ({"num_assistant_tokens": 2}, 2),
        ({"assistant_confidence_threshold": 1.0}, 1),
        ({}, COUNT),
    ],
)
def test_how_many_tokens_a_request_wants_proposed(
    make_engine: MakeEngine, prompts: Prompts, draft_f32: Path, fields: Any, most: int
) -> None:
    engine = make_engine(draft=DraftConfig(draft_f32))
    always_draft(engine)
    answers(engine, [prompts[4]], params(30, **fields))
    stats = engine.stats
    assert (stats.num_draft_tokens > 0) == (most > 0)
    assert stats.num_draft_tokens <= most * stats.num_drafts
    if most in (1, 2):
        assert stats.num_draft_tokens > (most - 1) * stats.num_drafts


@pytest.mark.parametrize("method", ["chances", "copy_blocks", "note_verified", "seconds"])
def test_no_error_of_a_proposer_fails_a_request(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, draft_f32: Path, method: str
) -> None:
    engine = make_engine(draft=DraftConfig(draft_f32), enable_prefix_caching=True)
    if method == "note_verified":
        always_draft(engine)
    speculation = engine._speculation
    assert speculation is not None
    setattr(speculation.proposer, method, lambda *_: 1 / 0)
    found = answers(engine, [prompts[4]], params(40, n=2))
    assert found == [greedy[4][:40]] * 2
    assert failure_of(engine) == "division by zero"


def test_a_draft_model_that_fails_is_switched_off(
    make_engine: MakeEngine,
    prompts: Prompts,
    greedy: Prompts,
    draft_f32: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = make_engine(draft=DraftConfig(draft_f32))
    proposer = always_draft(engine)
    number = iter(range(100))
    run = proposer._runner.run

    def fail(step: Any, *rest: Any) -> Any:
        if next(number) == 5:
            raise RuntimeError("no memory")
        return run(step, *rest)

    monkeypatch.setattr(proposer._runner, "run", fail)
    with caplog.at_level(logging.WARNING):
        assert answers(engine, [prompts[4]], params(40)) == [greedy[4][:40]]
    (line,) = [r.getMessage() for r in caplog.records if "speculation failed" in r.getMessage()]
    assert str(draft_f32) in line
    assert failure_of(engine) == "no memory"
    num_drafts = engine.stats.num_drafts
    assert answers(engine, [prompts[4]], params(40)) == [greedy[4][:40]]
    assert engine.stats.num_drafts == num_drafts


def test_after_a_failed_step_nothing_is_taken_for_computed(
    make_engine: MakeEngine,
    prompts: Prompts,
    greedy: Prompts,
    draft_f32: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = make_engine(draft=DraftConfig(draft_f32), enable_prefix_caching=True)
    proposer = always_draft(engine)
    answers(engine, [prompts[-1]], params(8))
    with monkeypatch.context() as patch:
        patch.setattr(engine.runner, "run", lambda *_: 1 / 0)
        start(engine, [prompts[-1]], params(8))
        assert run_to_end(engine)[-1].error is not None
    assert not proposer._blocks._counts.any()
    assert answers(engine, [prompts[-1]], params(8)) == [greedy[-1][:8]]
    assert engine.stats.num_accepted_tokens > 0


def test_a_long_prompt_is_not_read_for_a_short_answer(
    make_engine: MakeEngine, prompts: Prompts, draft_f32: Path
) -> None:
    engine = make_engine(draft=DraftConfig(draft_f32))
    speculation = engine._speculation
    assert speculation is not None
    chances = []
    for num_prompt, max_tokens in ((300, 2), (300, 1000), (20, 2)):
        sequence = make_sequence(prompts[-1][:num_prompt], max_tokens)
        sequence.append(5)
        chances.append(bool(speculation.proposer.chances(sequence, 1)))
    assert chances == [False, True, True]


def test_a_text_with_a_token_that_the_draft_model_lacks_has_no_drafts() -> None:
    assert DraftSequence(make_sequence([1, 2, 3]), 32, 4).is_readable
    assert not DraftSequence(make_sequence([1, 2, 4]), 32, 4).is_readable
