"""Log probabilities are found while the next step is computed, and equal those found at once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.engine_helpers import logits_of, make_sequence, run_to_end, start

from server.engine.engine import LLMEngine
from server.engine.model import model_runner
from server.engine.requests.outputs import SequenceOutput
from server.engine.sampling import logprobs
from server.engine.sampling.sampler import sample
from server.payloads import SamplingParams

MakeEngine = Callable[..., LLMEngine]
Prompts = list[list[int]]

ASKED = SamplingParams(temperature=0.0, max_tokens=6, logprobs=3, prompt_logprobs=2)


def entries(outputs: list[SequenceOutput]) -> list[tuple[Any, ...]]:
    """What the outputs say about each token, read now."""
    return [
        (o.request_id, o.token_ids, list(o.logprobs or ()), list(o.prompt_logprobs or ()))
        for o in outputs
    ]


@pytest.mark.parametrize("scale", [None, 0.37])
def test_they_equal_those_of_torch_for_a_large_vocabulary(scale: float | None) -> None:
    rows = np.random.default_rng(0).normal(0, 4, (5, 151_936)).astype(np.float32)
    scales = None if scale is None else np.full(5, scale, np.float32)
    # In f32 torch's own sum over so many tokens is wrong by 2e-5.
    scaled = torch.from_numpy(rows) * (scale or 1.0)
    exact = torch.log_softmax(scaled.double(), dim=1)
    best, ids = exact.topk(20, dim=1)
    sequences = [make_sequence([1], seed=i, logprobs=20) for i in range(5)]
    for row, token in enumerate(sample(logits_of(rows, 128, scales), sequences)):
        assert token.logprobs is not None
        assert token.logprobs.logprob == pytest.approx(float(exact[row, token.token_id]), abs=1e-5)
        assert [i for i, _ in token.logprobs.top] == ids[row].tolist()
        assert [p for _, p in token.logprobs.top] == pytest.approx(best[row].tolist(), abs=1e-5)


def test_what_is_read_after_the_last_step_is_what_was_read_after_each(
    make_engine: MakeEngine, prompts: Prompts
) -> None:
    found: list[list[tuple[Any, ...]]] = []
    for reads_at_once in (True, False):
        engine = make_engine(max_num_batched_tokens=64)
        start(engine, prompts[9:14], ASKED)
        outputs, told = [], []
        while engine.has_work:
            outputs += engine.step()
            if reads_at_once:
                told += entries(outputs[len(told) :])
        first = outputs[0].request_id
        told = told or entries(outputs)
        found.append([(number - first, *rest) for number, *rest in told])
    assert found[0] == found[1]


def test_they_are_found_while_the_device_computes(
    make_engine: MakeEngine, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_inferring = False
    were_inferring: list[bool] = []
    infer, find = model_runner._infer_overlapped, logprobs._logprobs

    def noting_infer(*arguments: Any) -> None:
        nonlocal is_inferring
        is_inferring = True
        infer(*arguments)
        is_inferring = False

    def noting_find(*arguments: Any) -> Any:
        were_inferring.append(is_inferring)
        return find(*arguments)

    monkeypatch.setattr(model_runner, "_infer_overlapped", noting_infer)
    monkeypatch.setattr(logprobs, "_logprobs", noting_find)
    engine = make_engine()
    start(engine, prompts[9:12], ASKED)
    run_to_end(engine)
    assert all(were_inferring)
    # A prompt has some of its own; the last step is followed by none.
    assert len(were_inferring) >= 5
    engine.settle()
    assert not were_inferring.pop()
    engine.settle()
    assert all(were_inferring)
