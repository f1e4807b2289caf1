"""A failed step fails its own requests; the engine goes on, loads anew, or says why it cannot."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.engine_helpers import run_to_end, start, tokens_of, values_of

from server.engine.engine import LLMEngine
from server.engine.model.model_runner import ModelRunner
from server.engine.model.tuning import tuned_model
from server.engine.requests import accepted_runs
from server.engine.requests.outputs import SequenceOutput
from server.engine.sequence import EngineRequest
from server.errors import GenerationError, ModelLoadError, ModelNotReadyError
from server.host.memory import RESERVATIONS
from server.payloads import SamplingParams

MakeEngine = Callable[..., LLMEngine]
Prompts = list[list[int]]

GREEDY = SamplingParams(temperature=0.0, max_tokens=16, ignore_eos=True)
BEAMS = replace(GREEDY, num_beams=4, n=4)
BEFORE, AFTER = "before the inference", "after the inference"


class Fault:
    """Lets chosen calls of ModelRunner.run raise, before or after the inference."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_left = 0
        self.when = BEFORE
        real = ModelRunner.run

        def run(runner: ModelRunner, step: Any, overlapped: Any = None) -> Any:
            fails = self.num_left > 0
            self.num_left -= fails
            if fails and self.when is BEFORE:
                raise RuntimeError("a fault in the test")
            result = real(runner, step, overlapped)
            if fails:
                raise RuntimeError("a fault in the test")
            return result

        monkeypatch.setattr(ModelRunner, "run", run)


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> Fault:
    return Fault(monkeypatch)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows whenever an engine loads its model."""
    seen: list[int] = []
    load = tuned_model.load_model

    def count(*arguments: Any) -> Any:
        seen.append(1)
        return load(*arguments)

    monkeypatch.setattr(tuned_model, "load_model", count)
    return seen


def errors_of(outputs: list[SequenceOutput], request: EngineRequest) -> list[str]:
    mine = [o for o in outputs if o.request_id == request.request_id and o.error is not None]
    assert all(isinstance(o.error, GenerationError) for o in mine)
    return [str(o.error) for o in mine]


@pytest.mark.parametrize("when", [BEFORE, AFTER])
@pytest.mark.parametrize("num_faults", [1, 2])
def test_waiting_requests_go_on_after_a_fault(
    make_engine: MakeEngine,
    prompts: Prompts,
    greedy: Prompts,
    fault: Fault,
    loads: list[int],
    when: str,
    num_faults: int,
) -> None:
    engine = make_engine(max_num_seqs=1, enable_prefix_caching=True)
    requests = start(engine, prompts[13:17], GREEDY)
    outputs = [output for _ in range(4) for output in engine.step()]
    fault.num_left, fault.when = num_faults, when
    outputs += run_to_end(engine)
    for request in requests[:num_faults]:
        assert errors_of(outputs, request) == [
            "the engine failed in this step: a fault in the test"
        ]
    for position in range(num_faults, 4):
        assert tokens_of(outputs, requests[position]) == greedy[13 + position][:16]
    assert engine.failure is None
    assert engine.stats.failed_steps == num_faults
    assert len(loads) == num_faults, "the second fault in a row loads the model again"


@pytest.mark.parametrize("num_faults", [1, 2])
def test_running_requests_outside_the_step_go_on(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, fault: Fault, num_faults: int
) -> None:
    engine = make_engine(
        dynamic_split_fuse=False, max_num_batched_tokens=150, enable_prefix_caching=True
    )
    survivors = start(engine, [prompts[12], prompts[14]], GREEDY)
    outputs = [output for _ in range(5) for output in engine.step()]
    for _ in range(num_faults):
        (victim,) = start(engine, [prompts[17]], GREEDY)
        fault.num_left = 1
        outputs += engine.step()
        assert errors_of(outputs, victim) != []
    (late,) = start(engine, [prompts[17]], GREEDY)
    outputs += run_to_end(engine)
    for request, position in (*zip(survivors, (12, 14), strict=True), (late, 17)):
        assert tokens_of(outputs, request) == greedy[position][:16]
    assert late.num_cached_tokens == 0, "nothing is reused after a fault"


def test_faults_apart_from_each_other_never_load_again(
    make_engine: MakeEngine, prompts: Prompts, fault: Fault, loads: list[int]
) -> None:
    engine = make_engine()
    for _ in range(5):
        (request,) = start(engine, [prompts[4]], GREEDY)
        outputs = engine.step()
        fault.num_left = 1
        outputs += run_to_end(engine)
        assert len(errors_of(outputs, request)) == 1
    assert engine.failure is None
    assert len(loads) == 1


def test_three_faults_in_a_row_end_it(
    make_engine: MakeEngine, prompts: Prompts, fault: Fault
) -> None:
    engine = make_engine(max_num_seqs=1)
    requests = start(engine, prompts[3:8], GREEDY)
    unstarted = engine.make_request(prompts[0], GREEDY)
    fault.num_left = 10**6
    outputs = run_to_end(engine)
    assert all(len(errors_of(outputs, request)) == 1 for request in requests)
    assert engine.failure == "the engine failed and could not recover: 3 steps in a row failed"
    assert not engine.has_work
    with pytest.raises(ModelNotReadyError, match="3 steps in a row failed"):
        engine.add(unstarted)


def test_a_model_that_cannot_be_loaded_again_ends_it(
    make_engine: MakeEngine, prompts: Prompts, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(max_num_seqs=1)
    requests = start(engine, prompts[3:8], GREEDY)

    def refuse(*_: Any) -> None:
        raise ModelLoadError("the file is gone")

    monkeypatch.setattr(tuned_model, "load_model", refuse)
    fault.num_left = 2
    outputs = run_to_end(engine)
    assert all(len(errors_of(outputs, request)) == 1 for request in requests)
    assert engine.failure == "the engine failed and could not recover: the file is gone"
    assert not engine.has_work


@pytest.fixture
def broken_warm_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Lets the first steps of a loaded model fail, or not."""
    real = ModelRunner.warm_up

    def fail(runner: ModelRunner, num_tokens: int) -> float:
        raise RuntimeError("a fault in the test")

    return lambda fails: monkeypatch.setattr(ModelRunner, "warm_up", fail if fails else real)


def test_a_load_that_fails_in_its_first_steps_gives_its_memory_back(
    make_engine: MakeEngine, broken_warm_up: Callable[[bool], None]
) -> None:
    reserved = RESERVATIONS.total_bytes
    broken_warm_up(True)
    for _ in range(2):
        with pytest.raises(ModelLoadError, match="a fault in the test"):
            make_engine()
        assert RESERVATIONS.total_bytes == reserved


def test_a_failed_engine_holds_no_memory_until_it_is_revived(
    make_engine: MakeEngine,
    prompts: Prompts,
    greedy: Prompts,
    fault: Fault,
    broken_warm_up: Callable[[bool], None],
) -> None:
    reserved = RESERVATIONS.total_bytes
    engine = make_engine()
    reserved_loaded = RESERVATIONS.total_bytes
    start(engine, prompts[3:4], GREEDY)
    fault.num_left = 1
    engine.step()
    start(engine, prompts[3:4], GREEDY)
    fault.num_left = 1
    broken_warm_up(True)
    engine.step()
    assert engine.failure is not None
    assert RESERVATIONS.total_bytes == reserved
    broken_warm_up(False)
    fault.num_left = 1
    with pytest.raises(RuntimeError, match="a fault in the test"):
        engine.revive()
    assert RESERVATIONS.total_bytes == reserved
    engine.revive()
    assert RESERVATIONS.total_bytes == reserved_loaded
    (request,) = start(engine, prompts[3:4], GREEDY)
    assert tokens_of(run_to_end(engine), request) == greedy[3][:16]


def test_a_fault_of_the_sampler_fails_the_step(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(max_num_seqs=3)
    real = accepted_runs.sample
    calls: list[int] = []

    def sample(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("a fault in the test")
        return real(*arguments)

    monkeypatch.setattr(accepted_runs, "sample", sample)
    forking = SamplingParams(temperature=0.0, max_tokens=16, n=3)
    (victim,) = start(engine, [prompts[10]], forking)
    (other,) = start(engine, [prompts[11]], GREEDY)
    outputs = run_to_end(engine)
    assert len(errors_of(outputs, victim)) == 1
    assert tokens_of(outputs, other) == greedy[11][:16]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_logits_fail_their_own_request(
    make_engine: MakeEngine,
    prompts: Prompts,
    greedy: Prompts,
    monkeypatch: pytest.MonkeyPatch,
    bad: float,
) -> None:
    engine = make_engine()
    real = ModelRunner.run

    def run(runner: ModelRunner, step: Any, overlapped: Any = None) -> Any:
        output = real(runner, step, overlapped)
        for row, sequence in enumerate(output.sequences):
            if sequence.request is victim and sequence.num_generated_tokens == 3:
                values_of(output.logits, row)[:] = bad
        return output

    monkeypatch.setattr(ModelRunner, "run", run)
    first, victim, last = start(engine, prompts[8:11], GREEDY)
    outputs = run_to_end(engine)
    assert errors_of(outputs, victim) == ["the model gave NaN or infinity instead of logits"]
    assert tokens_of(outputs, first) == greedy[8][:16]
    assert tokens_of(outputs, last) == greedy[10][:16]
    assert engine.stats.failed_steps == 0


@pytest.mark.parametrize("params", [GREEDY, BEAMS, replace(GREEDY, n=3)])
def test_blocks_that_gave_bad_logits_are_not_used_again(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, params: SamplingParams
) -> None:
    engine = make_engine(enable_prefix_caching=True)
    bad_one = replace(params, max_tokens=40)
    real = ModelRunner.run

    def run(runner: ModelRunner, step: Any, overlapped: Any = None) -> Any:
        output = real(runner, step, overlapped)
        for row, sequence in enumerate(output.sequences):
            if sequence.request is victim and sequence.num_tokens > 100:
                values_of(output.logits, row)[:] = np.nan
        return output

    prompt = list(range(5, 95))
    (victim,) = start(engine, [prompt], bad_one)
    monkeypatch.setattr(ModelRunner, "run", run)
    errors = errors_of(run_to_end(engine), victim)
    assert set(errors) == {"the model gave NaN or infinity instead of logits"}
    assert engine.kv.num_used_blocks == 0
    (again,) = start(engine, [prompt], GREEDY)
    run_to_end(engine)
    assert again.num_cached_tokens == 0


def all_tokens(outputs: list[SequenceOutput], request: EngineRequest) -> list[list[int]]:
    return [tokens_of(outputs, request, index) for index in range(4)]


@pytest.mark.parametrize("when", [BEFORE, AFTER])
@pytest.mark.parametrize("num_faults", [1, 2])
def test_waiting_searches_go_on_after_a_fault(
    make_engine: MakeEngine,
    prompts: Prompts,
    fault: Fault,
    loads: list[int],
    when: str,
    num_faults: int,
) -> None:
    engine = make_engine(max_num_seqs=4, enable_prefix_caching=True)
    expected = start(engine, prompts[10:13], BEAMS)
    outputs = run_to_end(engine)
    requests = start(engine, prompts[10:13], BEAMS)
    for _ in range(4):
        outputs += engine.step()
    fault.num_left, fault.when = num_faults, when
    outputs += run_to_end(engine)
    for request in requests[:num_faults]:
        expected_error = "the engine failed in this step: a fault in the test"
        assert errors_of(outputs, request) == [expected_error] * 4
    for position in range(num_faults, 3):
        found = all_tokens(outputs, requests[position])
        assert found == all_tokens(outputs, expected[position])
    assert len(loads) == num_faults, "the second fault in a row loads the model again"


def test_a_running_search_outside_the_step_survives_a_new_load(
    make_engine: MakeEngine, prompts: Prompts, fault: Fault, loads: list[int]
) -> None:
    engine = make_engine(dynamic_split_fuse=False, max_num_batched_tokens=150)
    (expected,) = start(engine, [prompts[14]], BEAMS)
    outputs = run_to_end(engine)
    (survivor,) = start(engine, [prompts[14]], BEAMS)
    for _ in range(5):
        outputs += engine.step()
    for _ in range(2):
        start(engine, [prompts[17]], BEAMS)
        fault.num_left = 1
        outputs += engine.step()
    outputs += run_to_end(engine)
    assert all_tokens(outputs, survivor) == all_tokens(outputs, expected)
    assert len(loads) == 2


def test_three_faults_in_a_row_end_every_search(
    make_engine: MakeEngine, prompts: Prompts, fault: Fault
) -> None:
    engine = make_engine(max_num_seqs=4)
    requests = start(engine, prompts[3:8], BEAMS)
    fault.num_left = 10**6
    outputs = run_to_end(engine)
    assert all(len(errors_of(outputs, request)) == 4 for request in requests)
    assert not engine.has_work
    fault.num_left = 0
    engine.revive()
    (request,) = start(engine, prompts[3:4], BEAMS)
    assert len(all_tokens(run_to_end(engine), request)[3]) == 16


def test_bad_logits_of_one_beam_fail_its_own_request(
    make_engine: MakeEngine, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine()
    real = ModelRunner.run

    def run(runner: ModelRunner, step: Any, overlapped: Any = None) -> Any:
        output = real(runner, step, overlapped)
        for row, sequence in enumerate(output.sequences):
            if sequence.request is victim and sequence.num_generated_tokens == 3:
                values_of(output.logits, row)[:] = np.nan
                break
        return output

    monkeypatch.setattr(ModelRunner, "run", run)
    victim, other = start(engine, prompts[8:10], BEAMS)
    outputs = run_to_end(engine)
    expected = "the model gave NaN or infinity instead of logits"
    assert errors_of(outputs, victim) == [expected] * 4
    assert all(len(tokens) == 16 for tokens in all_tokens(outputs, other))
