"""Steps that are prepared while the one before is computed: when there are any, and their ends."""

from collections.abc import Callable

import numpy as np
import pytest
from support.engine_helpers import check_blocks, run_to_end, start, tokens_of
from support.fake_engine import SIZE, FakeEngine
from support.greedy_requests import MakeEngine, Prompts, params

from server.engine.model.model_runner import ModelRunner
from server.engine.model.step_inputs import StepInputs, StepPacker, fill_tokens
from server.engine.model.step_sizes import StepSizes
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import Sequence


def decoding(num_sequences: int, **fields: int) -> tuple[FakeEngine, list[Sequence]]:
    """An engine whose next step is foreseen, and what it decodes."""
    engine = FakeEngine(**fields)
    sequences = [engine.add(3, max_tokens=8) for _ in range(num_sequences)]
    engine.step()
    engine.step()
    assert engine.num_foreseen == 0
    return engine, sequences


def test_steps_that_only_decode_are_foreseen_but_for_the_first() -> None:
    engine, _ = decoding(3)
    assert len(engine.run()) == 8 - 2
    assert engine.num_foreseen == 8 - 2


def test_the_end_by_max_tokens_is_foreseen() -> None:
    engine, _ = decoding(2)
    engine.add(3, max_tokens=2)
    # The new one is read, then decodes for the first and last time.
    for _ in range(2):
        engine.step()
        assert engine._foreseen is None
    assert len(engine.run()) == 8 - 2 - 2
    assert engine.num_foreseen == 8 - 2 - 2 - 1


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
def test_what_comes_or_goes_makes_it_void(
    change: Callable[[FakeEngine, list[Sequence]], object],
) -> None:
    engine, sequences = decoding(3)
    foreseen = engine._foreseen
    assert foreseen is not None
    change(engine, sequences)
    step = engine.scheduler.schedule()
    assert step is not foreseen
    assert len(step.sequences) == engine.scheduler.num_running
    engine.compute(step)
    engine.run()


def test_nothing_is_foreseen_while_somebody_waits() -> None:
    engine = FakeEngine(max_num_seqs=1)
    engine.add(3, max_tokens=8)
    engine.add(3, max_tokens=1)
    for _ in range(5):
        engine.step()
        assert engine._foreseen is None


def test_without_blocks_nothing_is_foreseen_and_nobody_gives_way() -> None:
    engine, sequences = decoding(2, num_blocks=2 * 2 - 1)
    while all(s.num_computed_tokens < SIZE for s in sequences):
        assert engine._foreseen is not None
        engine.step()
    assert engine._foreseen is None
    assert engine.stats.preemptions == 0
    check_blocks(engine.kv, engine.live)
    engine.step()
    assert engine.stats.preemptions == 1
    engine.run()
    assert engine.finished == sequences


def test_what_is_laid_out_ahead_is_what_is_packed_later() -> None:
    engine, _ = decoding(3)
    packer = StepPacker(StepSizes(16), StepSizes(16), spare_block=63, has_positions=True)
    ahead: list[StepInputs] = []
    foresee = engine.scheduler.foresee

    def foresee_and_lay_out(step: ScheduledStep) -> ScheduledStep | None:
        following = foresee(step)
        if following is not None:
            ahead.append(packer.pack_without_tokens(following))
        return following

    engine.scheduler.foresee = foresee_and_lay_out  # type: ignore[method-assign]
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


def test_what_was_prepared_in_vain_changes_no_tokens(
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


def test_a_failure_beside_the_inference_fails_the_step_alone(
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
