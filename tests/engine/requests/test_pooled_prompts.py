"""Requests for the model's output at the end of a prompt, compared with transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.engine_helpers import pool, run_to_end, start, tokens_of
from support.greedy_requests import MakeEngine, Prompts, params

from server.engine.model import logits_head
from server.engine.model.stateful.stateful_runner import StatefulRunner
from server.errors import ContextLengthError, GenerationError, InvalidRequestError

Floats = npt.NDArray[np.float32]

TOKENS = [7, 3, 2000]


@pytest.fixture(scope="session")
def last_rows(hf_model: Path, prompts: Prompts) -> tuple[Floats, Floats]:
    """By transformers, for the end of each prompt: the hidden state, and the logits of TOKENS."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(hf_model, dtype=torch.float32).eval()
    hidden, logits = [], []
    with torch.no_grad():
        for prompt in prompts:
            output = model(torch.tensor([prompt]), output_hidden_states=True)
            hidden.append(output.hidden_states[-1][0, -1])
            logits.append(output.logits[0, -1, TOKENS])
    return torch.stack(hidden).numpy(), torch.stack(logits).numpy()


def values(outputs: Any) -> Floats:
    return np.stack([output.values for output in outputs])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"has_head": False},
        {"max_num_batched_tokens": 16},
        {"num_kv_blocks": 12},
        {"dynamic_split_fuse": False, "max_num_batched_tokens": 320},
    ],
)
def test_hidden_states_are_those_of_transformers(
    make_engine: MakeEngine, prompts: Prompts, last_rows: tuple[Floats, Floats], fields: Any
) -> None:
    engine = make_engine(enable_prefix_caching=True, **fields)
    for _ in range(2):
        outputs = pool(engine, prompts)
        assert np.allclose(values(outputs), last_rows[0], atol=2e-4)
    if "num_kv_blocks" not in fields:
        # The second time all but the last token was cached.
        assert [output.num_cached_tokens for output in outputs[-5:]] == [127, 128, 199, 255, 299]


def test_logits_of_named_tokens_are_those_of_transformers(
    make_engine: MakeEngine, prompts: Prompts, last_rows: tuple[Floats, Floats]
) -> None:
    engine = make_engine(max_num_batched_tokens=64)
    assert np.allclose(values(pool(engine, prompts, TOKENS)), last_rows[1], atol=2e-4)


def test_preempted_prompts_are_read_again(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, last_rows: tuple[Floats, Floats]
) -> None:
    engine = make_engine(num_kv_blocks=7, max_num_batched_tokens=2)
    # One prompt grows while the other, of which each step reads a token, is not at its end.
    (answer,) = start(engine, [prompts[17]], params(64), priority=-1)
    request = engine.make_pooling_request(prompts[14])
    engine.add(request)
    outputs = run_to_end(engine)
    assert engine.stats.preemptions > 0
    assert tokens_of(outputs, answer) == greedy[17][:64]
    (found,) = [output.pooled for output in outputs if output.pooled]
    assert np.allclose(found.values, last_rows[0][14], atol=2e-4)


def test_they_run_in_the_steps_of_requests_for_tokens(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, last_rows: tuple[Floats, Floats]
) -> None:
    engine = make_engine()
    hidden = engine.make_pooling_request(prompts[5])
    answers = start(engine, [prompts[3], prompts[8]], params(n=1), priority=0)
    engine.add(hidden)
    several = start(engine, [prompts[12]], params(n=3, temperature=0))
    searched = start(engine, [prompts[2]], params(num_beams=2, n=2))
    logits = engine.make_pooling_request(prompts[9], TOKENS)
    engine.add(logits)
    outputs = run_to_end(engine)
    found = {output.request_id: output.pooled for output in outputs if output.pooled}
    assert np.allclose(found[hidden.request_id].values, last_rows[0][5], atol=2e-4)
    assert np.allclose(found[logits.request_id].values, last_rows[1][9], atol=2e-4)
    assert [tokens_of(outputs, request) for request in answers] == [greedy[3][:24], greedy[8][:24]]
    assert tokens_of(outputs, several[0], 2) == greedy[12][:24]
    assert len(tokens_of(outputs, searched[0])) == 24


def test_the_head_does_not_run_for_hidden_states(
    make_engine: MakeEngine, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine()
    monkeypatch.setattr(logits_head.LogitsHead, "compute", None)
    assert len(pool(engine, prompts[:4])) == 4


def test_a_model_without_a_paged_form_gives_them_too(
    make_engine: MakeEngine,
    prompts: Prompts,
    last_rows: tuple[Floats, Floats],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from server.engine.model.attention import NotExpressibleError
    from server.engine.model.loading import graph_form
    from server.engine.model.model_loader import load_model
    from server.engine.model.tuning import tuned_model

    def has_none(*_: Any, **__: Any) -> None:
        raise NotExpressibleError("the test says so")

    monkeypatch.setattr(graph_form, "_transform", has_none)
    monkeypatch.setattr(tuned_model, "load_model", load_model)
    for fields, token_ids, expected in (
        ({}, TOKENS, last_rows[1]),
        ({"has_head": False}, None, last_rows[0]),
    ):
        engine = make_engine(num_kv_blocks=0, max_num_seqs=4, **fields)
        assert isinstance(engine.runner, StatefulRunner)
        assert np.allclose(values(pool(engine, prompts, token_ids)), expected, atol=2e-4)


def test_a_prompt_may_fill_the_context_and_no_more(
    make_engine: MakeEngine, prompts: Prompts
) -> None:
    engine = make_engine(num_kv_blocks=4)
    assert len(pool(engine, [prompts[-1][:128]])) == 1
    with pytest.raises(ContextLengthError, match="the prompt has 129 tokens"):
        engine.make_pooling_request(prompts[-1][:129])


@pytest.mark.parametrize(
    ("prompt", "token_ids", "message"),
    [
        ([], None, "the prompt has no tokens"),
        ([1, -1], None, "token id -1"),
        ([1, 2**70], None, "beyond 64 bits"),
        ([1], [2, 10**6], "token_ids has 1000000"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    make_engine: MakeEngine, prompt: Any, token_ids: Any, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        make_engine().make_pooling_request(prompt, token_ids)


def test_without_a_head_there_are_no_tokens(make_engine: MakeEngine) -> None:
    engine = make_engine(has_head=False)
    with pytest.raises(InvalidRequestError, match="without an output head"):
        engine.make_request([1], params())
    with pytest.raises(InvalidRequestError, match="without an output head"):
        engine.make_pooling_request([1], [2])


def test_an_aborted_request_gives_its_blocks_back(
    make_engine: MakeEngine, prompts: Prompts
) -> None:
    engine = make_engine(max_num_batched_tokens=16)
    requests = [engine.make_pooling_request(prompt) for prompt in (prompts[-1], prompts[-2])]
    for request in requests:
        engine.add(request)
    engine.step()
    assert engine.kv.num_used_blocks > 0
    for request in requests:
        engine.abort(request.request_id)
        engine.abort(request.request_id)
    assert engine.kv.num_used_blocks == 0
    assert not engine.has_work


def test_nan_ends_the_request_and_leaves_the_cache(
    make_engine: MakeEngine, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(enable_prefix_caching=True)
    run = engine.runner.run

    def with_nan(*arguments: Any) -> Any:
        output = run(*arguments)
        output.hidden[0, 0] = np.nan
        return output

    monkeypatch.setattr(engine.runner, "run", with_nan)
    request = engine.make_pooling_request(prompts[15])
    engine.add(request)
    (output,) = run_to_end(engine)
    assert isinstance(output.error, GenerationError)
    assert "NaN" in str(output.error)
    monkeypatch.undo()
    assert pool(engine, [prompts[15]])[0].num_cached_tokens == 0


def test_a_failed_engine_without_a_head_is_revived(
    make_engine: MakeEngine, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(has_head=False)
    engine.failure = "the test says so"
    engine.revive()
    assert engine.failure is None
    assert len(pool(engine, prompts[:2])) == 2
