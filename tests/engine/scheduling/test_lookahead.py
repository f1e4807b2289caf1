"""Lookahead: which steps are prepared while the one before is computed, and what voids them."""

import random
from collections.abc import Callable

import numpy as np
import pytest
from support.engine_helpers import check_blocks, run_to_end, start, tokens_of
from support.fake_engine import SIZE, FakeEngine, parts
from support.greedy_requests import MakeEngine, Prompts, params

from server.engine.model.model_runner import ModelRunner
from server.engine.model.step_inputs import StepInputs, StepPacker, fill_tokens
from server.engine.model.step_sizes import StepSizes
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import Sequence, SequenceStatus


def decoding(num_sequences: int, **fields: int) -> tuple[FakeEngine, list[Sequence]]:
    """An engine whose next step is prepared, and what it decodes."""
    engine = FakeEngine(**fields)
    sequences = [engine.add(3, max_tokens=8) for _ in range(num_sequences)]
    engine.step()
    engine.step()
    assert engine.num_prepared == 0
    return engine, sequences


def test_decode_only_steps_are_prepared_except_the_first() -> None:
    engine, _ = decoding(3)
    assert len(engine.run()) == 8 - 2
    assert engine.num_prepared == 8 - 2


def test_no_step_is_prepared_after_an_end_by_max_tokens() -> None:
    engine, _ = decoding(2)
    engine.add(3, max_tokens=2)
    # The new one is read, then decodes for the first and last time.
    for _ in range(2):
        engine.step()
        assert engine._prepared is None
    assert len(engine.run()) == 8 - 2 - 2
    assert engine.num_prepared == 8 - 2 - 2 - 1


def split_off(engine: FakeEngine, parent: Sequence) -> None:
    child = Sequence(parent.request, 1, parent.arrival)
    for token in parent.token_ids.view(child.num_tokens).tolist():
        child.append(token)
    engine.scheduler.add_fork(parent, child)
    engine.live.append(child)


CHANGES: dict[str, Callable[[FakeEngine, list[Sequence]], object]] = {
    "a new request": lambda engine, _: engine.add(3),
    "an abort": lambda engine, sequences: engine.abort(sequences[1]),
    "a choice that splits off": lambda engine, sequences: split_off(engine, sequences[0]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_starts_or_ends_makes_the_prepared_step_void(
    change: Callable[[FakeEngine, list[Sequence]], object],
) -> None:
    engine, sequences = decoding(3)
    prepared = engine._prepared
    assert prepared is not None
    change(engine, sequences)
    step = engine.scheduler.schedule()
    assert step is not prepared
    assert len(step.sequences) == engine.scheduler.num_running
    engine.compute(step)
    engine.run()


def saturated(size: int = 6, **fields: int) -> tuple[FakeEngine, Sequence, Sequence]:
    """An engine with a prepared step, what it decodes, and what waits because it has no room."""
    engine = FakeEngine(**fields)
    running, waiting = engine.add(3, max_tokens=9), engine.add(size, max_tokens=1)
    while engine._prepared is None:
        engine.step()
    assert waiting.status is SequenceStatus.WAITING
    assert engine._prepared is not None
    return engine, running, waiting


NO_SEAT, NO_BLOCK = {"max_num_seqs": 1}, {"num_blocks": 3}


@pytest.mark.parametrize("fields", [NO_SEAT, NO_BLOCK, {"budget": 1}], ids=str)
def test_steps_are_prepared_while_nothing_that_waits_could_start(fields: dict[str, int]) -> None:
    engine, running, waiting = saturated(**fields)
    num_prepared = engine.num_prepared
    for _ in range(5):
        engine.step()
    assert engine.num_prepared == num_prepared + 5
    engine.run()
    assert engine.finished == [running, waiting]


@pytest.mark.parametrize("fields", [NO_SEAT, NO_BLOCK], ids=str)
def test_an_end_that_makes_room_voids_the_prepared_step(fields: dict[str, int]) -> None:
    engine, running, waiting = saturated(**fields)
    engine.abort(running)
    assert parts(engine.step(), [waiting]) == [6]
    engine.run()


def test_a_new_request_that_has_room_and_goes_first_voids_the_prepared_step() -> None:
    engine, running, waiting = saturated(size=20, num_blocks=6)
    prepared = engine._prepared
    engine.add(7, max_tokens=1, priority=1)
    assert engine.scheduler.schedule() is prepared, "it goes after the one that has no room"
    assert prepared is not None
    engine.compute(prepared)
    urgent = engine.add(3, max_tokens=1, priority=-1)
    assert parts(engine.step(), [running, waiting, urgent]) == [1, 0, 3]
    engine.run()


def test_the_abort_of_a_waiting_request_that_blocked_others_voids_the_prepared_step() -> None:
    engine, _, waiting = saturated(size=20, num_blocks=6)
    small = engine.add(3, max_tokens=1, priority=1)
    engine.step()
    assert engine._prepared is not None
    engine.abort(waiting)
    assert parts(engine.step(), [small]) == [3]
    engine.run()


def contents(engine: FakeEngine) -> list[tuple[int, int, int]]:
    """Run a step; returns which requests and choices were in it, with how many tokens."""
    numbers = {s.arrival: number for number, s in enumerate(engine.added)}
    step = engine.step()
    return sorted(
        (numbers[sequence.arrival], sequence.index, num_new)
        for sequence, num_new in zip(step.sequences, step.num_new_tokens, strict=True)
    )


@pytest.mark.parametrize("seed", range(12))
def test_random_load_gives_the_same_steps_with_and_without_lookahead(seed: int) -> None:
    rng = random.Random(seed)
    fields = {
        "num_blocks": rng.choice([6, 12, 60]),
        "budget": rng.choice([4, 16]),
        "max_num_seqs": rng.choice([1, 2, 4, 8]),
    }
    engines = FakeEngine(**fields), FakeEngine(**fields, has_lookahead=False)
    longest = min(60, fields["num_blocks"] * SIZE - 20)
    num_prepared_while_some_wait = 0
    for _ in range(400):
        if rng.random() < 0.4:
            size, max_tokens = rng.randint(1, longest), rng.randint(1, 20)
            n = rng.randint(1, min(fields["max_num_seqs"], 3))
            priority = rng.choice([0, 0, 0, 1, -1])
            for engine in engines:
                engine.add(size, max_tokens, n, priority)
        if engines[0].live and rng.random() < 0.05:
            victim = rng.randrange(len(engines[0].live))
            for engine in engines:
                engine.abort(engine.live[victim])
        if engines[0].scheduler.has_work:
            one, other = (contents(engine) for engine in engines)
            assert one == other
        num_prepared_while_some_wait += bool(
            engines[0]._prepared and engines[0].scheduler.num_waiting
        )
    assert num_prepared_while_some_wait > 0


def test_without_blocks_nothing_is_prepared_or_preempted() -> None:
    engine, sequences = decoding(2, num_blocks=2 * 2 - 1)
    while all(s.num_computed_tokens < SIZE for s in sequences):
        assert engine._prepared is not None
        engine.step()
    assert engine._prepared is None
    assert engine.stats.preemptions == 0
    check_blocks(engine.kv, engine.live)
    engine.step()
    assert engine.stats.preemptions == 1
    engine.run()
    assert engine.finished == sequences


def test_a_prepared_step_is_packed_as_any_other() -> None:
    engine, _ = decoding(3)
    packer = StepPacker(StepSizes(16), StepSizes(16), spare_block=63, has_positions=True)
    ahead: list[StepInputs] = []
    look_ahead = engine.scheduler.look_ahead

    def look_ahead_and_lay_out(step: ScheduledStep) -> ScheduledStep | None:
        following = look_ahead(step)
        if following is not None:
            ahead.append(packer.pack_without_tokens(following))
        return following

    engine.scheduler.look_ahead = look_ahead_and_lay_out  # type: ignore[method-assign]
    engine.step()
    step = engine.scheduler.schedule()
    expected = packer.pack(step)
    fill_tokens(ahead[0], step)
    assert ahead[0].complete == expected.complete == step.sequences
    assert ahead[0].arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(ahead[0].arrays[name], array, name)


def test_the_engine_prepares_steps_and_gives_the_same_tokens(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine()
    requests = start(engine, prompts[8:12], params(24))
    outputs = run_to_end(engine)
    assert [tokens_of(outputs, request) for request in requests] == [
        tokens[:24] for tokens in greedy[8:12]
    ]
    # The first reads the prompts, the second is not known before the first token.
    assert (engine.stats.num_steps, engine.stats.prepared_steps) == (24, 22)


def test_the_engine_prepares_steps_while_requests_wait_for_seats(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine(max_num_seqs=2)
    requests = start(engine, prompts[8:14], params(24))
    outputs = [output for _ in range(12) for output in engine.step()]
    assert engine.scheduler.num_waiting == 4
    assert engine.stats.prepared_steps == 12 - 2
    outputs += run_to_end(engine)
    for position, request in enumerate(requests, start=8):
        assert tokens_of(outputs, request) == greedy[position][:24]


def test_void_steps_change_no_tokens(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine()
    first, second = start(engine, prompts[8:10], params(24))
    outputs = [output for _ in range(5) for output in engine.step()]
    (third,) = start(engine, prompts[10:11], params(24))
    outputs += [output for _ in range(5) for output in engine.step()]
    engine.abort(second.request_id)
    outputs += run_to_end(engine)
    assert tokens_of(outputs, first) == greedy[8][:24]
    assert tokens_of(outputs, third) == greedy[10][:24]
    assert 0 < engine.stats.prepared_steps < engine.stats.num_steps - 4
    assert engine.kv.num_used_blocks == 0


def test_beam_searches_prepare_nothing(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine()
    start(engine, prompts[8:9], params(12, num_beams=3))
    start(engine, prompts[9:10], params(6))
    run_to_end(engine)
    assert engine.stats.prepared_steps == 0


def test_a_failure_during_the_inference_fails_only_its_step(
    make_engine: MakeEngine,
    prompts: Prompts,
    greedy: Prompts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = make_engine(enable_prefix_caching=True)
    (victim,) = start(engine, prompts[15:16], params(24))
    for _ in range(3):
        engine.step()

    def prepare(runner: ModelRunner, step: ScheduledStep) -> None:
        raise MemoryError("a fault in the test")

    with monkeypatch.context() as patch:
        patch.setattr(ModelRunner, "prepare", prepare)
        (output,) = engine.step()
    assert str(output.error) == "the engine failed in this step: a fault in the test"
    assert not engine.has_request(victim.request_id)
    assert engine.kv.num_used_blocks == 0
    (again,) = start(engine, prompts[15:16], params(24))
    assert tokens_of(run_to_end(engine), again) == greedy[15][:24]
    assert again.num_cached_tokens == 0
    assert engine.stats.failed_steps == 1
