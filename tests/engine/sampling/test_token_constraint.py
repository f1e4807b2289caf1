"""Constrained answers in the engine: with any sampling method and any batch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.engine_helpers import generate, run_to_end, start, tokens_of
from support.guiding import compile_schema

from calculators.guided import GrammarConstraint
from calculators.text.byte_table import ByteTable, load_byte_table
from server.engine.engine import LLMEngine
from server.engine.model import model_runner
from server.engine.requests.outputs import SequenceOutput
from server.engine.sequence import EngineRequest
from server.errors import InvalidRequestError
from server.payloads import SamplingParams

MakeEngine = Callable[..., LLMEngine]
Prompts = list[list[int]]

VOCAB_SIZE = 2048
ENDS = (0, 2)
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "kind": {"enum": ["fox", "crow", "Füchsin"]},
        "ages": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 99},
            "maxItems": 3,
        },
    },
    "required": ["name", "kind", "ages"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def table(model_f32: Path) -> ByteTable:
    return load_byte_table(model_f32)


@pytest.fixture(scope="module")
def constraint(table: ByteTable) -> GrammarConstraint:
    return compile_schema(table, VOCAB_SIZE, ENDS, SCHEMA)


def params(max_tokens: int | None = 200, **fields: Any) -> SamplingParams:
    return SamplingParams(**{"temperature": 0.0, **fields}, max_tokens=max_tokens)


def answer_of(
    table: ByteTable, outputs: list[SequenceOutput], request: EngineRequest, index: int = 0
) -> Any:
    """The parsed JSON of one choice, which must have ended with an end token."""
    tokens = tokens_of(outputs, request, index)
    assert tokens[-1] in ENDS
    found = json.loads(table.decode(tokens))
    assert list(found) == ["name", "kind", "ages"]
    assert found["kind"] in ("fox", "crow", "Füchsin")
    assert len(found["name"]) <= 12
    assert all(0 <= age <= 99 for age in found["ages"])
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 1.0, "seed": 1},
        {"temperature": 2.0, "seed": 2},
        {"temperature": 1.0, "top_k": 1},
        {"temperature": 1.5, "top_p": 0.5, "min_p": 0.1, "seed": 3},
        {"temperature": 2.0, "top_k": 50, "seed": 4},
        {"repetition_penalty": 1.5, "frequency_penalty": 1.0, "presence_penalty": -1.0},
        {"logit_bias": {0: 100, 2: 100, 50: 100}},
        {"ignore_eos": True},
        {"ignore_eos": True, "temperature": 1.0, "seed": 5},
        {"min_tokens": 150},
        {"logprobs": 3},
        {"logprobs": 0, "temperature": 1.0, "seed": 6},
    ],
    ids=str,
)
def test_every_sampling_method_follows_the_constraint(
    make_engine: MakeEngine,
    table: ByteTable,
    constraint: GrammarConstraint,
    prompts: Prompts,
    fields: dict[str, Any],
) -> None:
    engine = make_engine()
    requests = start(engine, prompts[8:14], params(**fields), constraint=constraint)
    outputs = run_to_end(engine)
    answers = [answer_of(table, outputs, request) for request in requests]
    assert len(answers) == 6


def test_other_requests_in_the_batch_are_not_constrained(
    make_engine: MakeEngine,
    table: ByteTable,
    constraint: GrammarConstraint,
    prompts: Prompts,
    greedy: Prompts,
) -> None:
    engine = make_engine()
    free = start(engine, prompts, params(48, ignore_eos=True))
    bound = start(engine, prompts, params(), constraint=constraint)
    hot = start(engine, prompts, params(temperature=1.0), constraint=constraint)
    outputs = run_to_end(engine)
    assert [tokens_of(outputs, request) for request in free] == [row[:48] for row in greedy]
    for request in [*bound, *hot]:
        answer_of(table, outputs, request)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_num_batched_tokens": 16},
        {"num_kv_blocks": 12},
        {"num_kv_blocks": 12, "enable_prefix_caching": True},
        {"dynamic_split_fuse": False, "max_num_batched_tokens": 320, "num_kv_blocks": 12},
    ],
    ids=str,
)
def test_batching_and_preemption_do_not_change_an_answer(
    make_engine: MakeEngine,
    table: ByteTable,
    constraint: GrammarConstraint,
    prompts: Prompts,
    fields: dict[str, Any],
) -> None:
    some = [prompts[i] for i in (9, 10, 11, 12, 15, 16, 17)]
    alone = []
    for prompt in some:
        engine = make_engine()
        (request,) = start(engine, [prompt], params(), constraint=constraint)
        alone.append(tokens_of(run_to_end(engine), request))
    engine = make_engine(**fields)
    requests = start(engine, some, params(), constraint=constraint)
    outputs = run_to_end(engine)
    assert [tokens_of(outputs, request) for request in requests] == alone
    for request in requests:
        answer_of(table, outputs, request)
    if "num_kv_blocks" in fields:
        assert engine.stats.preemptions > 0


def test_each_choice_follows_the_constraint_on_its_own(
    make_engine: MakeEngine, table: ByteTable, constraint: GrammarConstraint, prompts: Prompts
) -> None:
    engine = make_engine()
    asked = params(temperature=1.5, seed=1, n=6)
    (request,) = start(engine, [prompts[12]], asked, constraint=constraint)
    outputs = run_to_end(engine)
    answers = [json.dumps(answer_of(table, outputs, request, index)) for index in range(6)]
    assert len(set(answers)) > 1


def test_max_tokens_cuts_a_constrained_answer(
    make_engine: MakeEngine, table: ByteTable, constraint: GrammarConstraint, prompts: Prompts
) -> None:
    engine = make_engine()
    (request,) = start(engine, [prompts[9]], params(5), constraint=constraint)
    outputs = run_to_end(engine)
    assert table.decode(tokens_of(outputs, request)).startswith("{")
    assert outputs[-1].finish_reason == "length"


def test_an_abort_does_not_affect_other_requests(
    make_engine: MakeEngine, table: ByteTable, constraint: GrammarConstraint, prompts: Prompts
) -> None:
    engine = make_engine()
    asked = params(temperature=1.0, seed=3, n=2)
    first, second = start(engine, prompts[9:11], asked, constraint=constraint)
    outputs = [output for _ in range(5) for output in engine.step()]
    engine.abort(first.request_id)
    engine.abort(second.request_id, 0)
    outputs += run_to_end(engine)
    assert answer_of(table, outputs, second, 1)
    assert not any(
        output.finish_reason for output in outputs if output.request_id == first.request_id
    )


def test_log_probabilities_ignore_the_constraint(
    make_engine: MakeEngine, table: ByteTable, prompts: Prompts
) -> None:
    engine = make_engine()
    (free,) = start(engine, [prompts[9]], params(1, logprobs=2))
    only = compile_schema(table, VOCAB_SIZE, ENDS, {"const": 7})
    (bound,) = start(engine, [prompts[9]], params(logprobs=2), constraint=only)
    outputs = run_to_end(engine)
    told = {o.request_id: o.logprobs[0] for o in reversed(outputs)}
    assert told[free.request_id].top == told[bound.request_id].top
    assert told[bound.request_id].token_id not in dict(told[bound.request_id].top)
    assert table.decode(tokens_of(outputs, bound)) == "7"


def test_min_tokens_is_ignored_once_the_answer_is_complete(
    make_engine: MakeEngine, table: ByteTable, prompts: Prompts
) -> None:
    engine = make_engine()
    (request,) = start(
        engine,
        [prompts[9]],
        params(min_tokens=20, stop_token_ids=(table.token_bytes.index(b"7"),)),
        constraint=compile_schema(table, VOCAB_SIZE, ENDS, {"const": 75}),
    )
    outputs = run_to_end(engine)
    assert table.decode(tokens_of(outputs, request)) in ("7", "75")
    assert outputs[-1].finish_reason == "stop"


def test_a_beam_search_cannot_be_constrained(make_engine: MakeEngine) -> None:
    with pytest.raises(InvalidRequestError, match="num_beams is 2; beam search cannot follow"):
        make_engine().make_request([1], params(num_beams=2), constraint=Fragile(2))


class Fragile:
    """Allows everything, and is too complex after some tokens."""

    def __init__(self, num_left: int) -> None:
        self.num_left = num_left

    can_complete = True

    def forbidden_tokens(self) -> npt.NDArray[np.bool_]:
        if self.num_left == 0:
            raise InvalidRequestError("it is too complex")
        return np.zeros(VOCAB_SIZE, np.bool_)

    def accept(self, token_id: int) -> None:
        self.num_left -= 1

    def fork(self) -> "Fragile":
        return Fragile(self.num_left)


def test_a_constraint_that_becomes_too_complex_fails_only_its_request(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine()
    (bad,) = start(engine, [prompts[9]], params(ignore_eos=True), constraint=Fragile(2))
    (good,) = start(engine, [prompts[10]], params(30, ignore_eos=True))
    outputs = run_to_end(engine)
    errors = [output for output in outputs if output.error is not None]
    assert [(o.request_id, str(o.error)) for o in errors] == [(bad.request_id, "it is too complex")]
    assert tokens_of(outputs, good) == greedy[10][:30]
    assert generate(engine, [prompts[10]], params(30, ignore_eos=True)) == [greedy[10][:30]]


def test_a_failed_step_fails_its_own_requests_only(
    make_engine: MakeEngine,
    table: ByteTable,
    constraint: GrammarConstraint,
    prompts: Prompts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = make_engine(max_num_seqs=1)
    first, second = start(engine, prompts[9:11], params(), constraint=constraint)
    engine.step()
    with monkeypatch.context() as patch:
        patch.setattr("server.engine.requests.accepted_runs.sample", None)
        (failed,) = engine.step()
    assert failed.request_id == first.request_id
    outputs = run_to_end(engine)
    answer_of(table, outputs, second)


@pytest.mark.parametrize("n", [1, 3])
def test_a_constraint_that_is_too_complex_at_once_fails_every_choice(
    make_engine: MakeEngine, prompts: Prompts, n: int
) -> None:
    engine = make_engine()
    start(engine, [prompts[9]], params(n=n), constraint=Fragile(0))
    outputs = run_to_end(engine)
    assert [(o.index, str(o.error)) for o in outputs] == [
        (i, "it is too complex") for i in range(n)
    ]
    assert engine.stats.failed_steps == 0


@pytest.mark.parametrize("fields", [{}, {"max_num_batched_tokens": 16}], ids=str)
def test_masks_are_computed_while_the_device_computes(
    make_engine: MakeEngine,
    table: ByteTable,
    constraint: GrammarConstraint,
    prompts: Prompts,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, int],
) -> None:
    engine = make_engine(**fields)
    requests = start(engine, prompts[12:15], params(n=2, seed=1), constraint=constraint)
    is_inferring = False
    were_inferring: list[bool] = []
    infer, compute = model_runner._infer_overlapped, GrammarConstraint._compute_mask

    def noting_infer(*arguments: Any) -> None:
        nonlocal is_inferring
        is_inferring = True
        infer(*arguments)
        is_inferring = False

    def noting_compute(of: GrammarConstraint) -> npt.NDArray[np.uint8]:
        were_inferring.append(is_inferring)
        return compute(of)

    monkeypatch.setattr(model_runner, "_infer_overlapped", noting_infer)
    monkeypatch.setattr(GrammarConstraint, "_compute_mask", noting_compute)
    outputs = run_to_end(engine)
    for request in requests:
        for index in range(2):
            answer_of(table, outputs, request, index)
    # The mask of a first token was computed when the grammar was compiled.
    num_tokens = sum(len(output.token_ids) for output in outputs)
    assert were_inferring == [True] * (num_tokens - 6)


def test_allowed_tokens_that_a_constraint_forbids_end_the_request(
    make_engine: MakeEngine, prompts: Prompts, constraint: GrammarConstraint
) -> None:
    engine = make_engine()
    bad = params(allowed_token_ids=(5,))
    (request,) = start(engine, [prompts[0]], bad, constraint=constraint)
    (other,) = start(engine, [prompts[1]], params(3, ignore_eos=True))
    outputs = run_to_end(engine)
    (failed,) = [output for output in outputs if output.error is not None]
    assert failed.request_id == request.request_id
    assert "none of the allowed_token_ids can come next" in str(failed.error)
    assert len(tokens_of(outputs, other)) == 3
