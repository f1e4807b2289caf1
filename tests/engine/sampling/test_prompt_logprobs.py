"""Log probabilities of prompts equal those of transformers, however the prompt is computed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.engine_helpers import check_blocks, logits_of, run_to_end, start, tokens_of

from server.engine import engine as engine_module
from server.engine.engine import LLMEngine
from server.engine.prompt_logprobs import PromptLogprobs
from server.engine.requests.outputs import SequenceOutput
from server.engine.sampling.logprobs import gather_prompt_logprobs
from server.engine.sequence import EngineRequest
from server.errors import ContextLengthError
from server.payloads import SamplingParams

MakeEngine = Callable[..., LLMEngine]
Prompts = list[list[int]]

SOME = (0, 1, 4, 9, 10, 15, 19, 23)
"""Positions of prompts of 1, 2, 8, 32, 33, 65, 128 and 300 tokens."""

VOCAB_SIZE = 2048


def params(max_tokens: int, num_top: int = 3, **fields: Any) -> SamplingParams:
    return SamplingParams(
        max_tokens=max_tokens, temperature=0.0, ignore_eos=True, prompt_logprobs=num_top, **fields
    )


def gathered_of(
    outputs: list[SequenceOutput], request: EngineRequest, index: int = 0
) -> PromptLogprobs:
    """The log probabilities in the first output of a choice; no other output may have some."""
    mine = [o for o in outputs if (o.request_id, o.index) == (request.request_id, index)]
    assert [o.prompt_logprobs is not None for o in mine] == [True] + [False] * (len(mine) - 1)
    assert mine[0].prompt_logprobs is not None
    return mine[0].prompt_logprobs


def check(gathered: PromptLogprobs, prompt: list[int], expected: Any, num_top: int = 3) -> None:
    entries = tuple(gathered)
    assert [entry.token_id for entry in entries] == prompt[1:]
    for entry, row in zip(entries, expected, strict=True):
        assert entry.logprob == pytest.approx(row[entry.token_id], abs=1e-3)
        values = [logprob for _, logprob in entry.top]
        assert values == pytest.approx(np.sort(row)[::-1][:num_top].tolist(), abs=1e-3)
        assert values == pytest.approx([row[token] for token, _ in entry.top], abs=1e-3)


@pytest.mark.parametrize("max_tokens", [0, 8])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_num_batched_tokens": 7},
        {"max_num_batched_tokens": 64, "max_num_seqs": 3},
        {"dynamic_split_fuse": False, "max_num_batched_tokens": 320},
        {"num_kv_blocks": 11, "enable_prefix_caching": True},
        {"max_prompt_rows": 10, "enable_prefix_caching": True},
        {"max_prompt_rows": 1, "max_num_batched_tokens": 512},
        {"max_prompt_rows": 9, "dynamic_split_fuse": False, "max_num_batched_tokens": 320},
    ],
    ids=str,
)
def test_prompt_logprobs_equal_transformers_and_change_no_token(
    make_engine: MakeEngine,
    prompts: Prompts,
    greedy: Prompts,
    log_softmax: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    max_tokens: int,
) -> None:
    if "max_prompt_rows" in fields:
        fields = dict(fields)
        limit = fields.pop("max_prompt_rows") * VOCAB_SIZE
        monkeypatch.setattr(engine_module, "MAX_PROMPT_LOGITS", limit)
    engine = make_engine(**fields)
    # Twice, so that the second time uses cached prefixes; mixed with plain requests for the same
    # prompts.
    for _ in range(2):
        requests, outputs = [], []
        for position in SOME:
            plain = SamplingParams(max_tokens=5, temperature=0.0, ignore_eos=True)
            start(engine, [prompts[position]], plain)
            requests += start(engine, [prompts[position]], params(max_tokens))
            outputs += engine.step()
        outputs += run_to_end(engine)
        for position, request in zip(SOME, requests, strict=True):
            gathered = gathered_of(outputs, request)
            check(gathered, prompts[position], log_softmax[position])
            assert tokens_of(outputs, request) == greedy[position][:max_tokens]
            assert request.num_cached_tokens == 0


def test_a_preempted_prompt_keeps_its_log_probabilities(
    make_engine: MakeEngine, prompts: Prompts, log_softmax: list[Any]
) -> None:
    engine = make_engine(num_kv_blocks=16, max_num_batched_tokens=64)
    (first,) = start(engine, [prompts[10]], params(64))
    (second,) = start(engine, [prompts[23]], params(0))
    outputs = engine.step() + engine.step()
    # It computes the known part again, then the rest.
    parts = second.prompt_logprobs
    assert parts is not None
    assert 0 < parts.num_done < 299
    other, victim = engine._requests.sequences
    engine.scheduler._preempt(victim, engine.scheduler.schedule())
    num_done = parts.num_done
    outputs += engine.step()
    assert parts.num_done >= num_done
    check_blocks(engine.kv, [other, victim])
    outputs += run_to_end(engine)
    check(gathered_of(outputs, second), prompts[23], log_softmax[23])
    check(gathered_of(outputs, first), prompts[10], log_softmax[10])


@pytest.mark.parametrize("max_tokens", [0, 3])
def test_each_choice_has_the_prompt_logprobs(
    make_engine: MakeEngine, prompts: Prompts, log_softmax: list[Any], max_tokens: int
) -> None:
    engine = make_engine()
    (request,) = start(engine, [prompts[15]], params(max_tokens, n=3))
    outputs = run_to_end(engine)
    for index in range(3):
        check(gathered_of(outputs, request, index), prompts[15], log_softmax[15])
        assert len(tokens_of(outputs, request, index)) == max_tokens
    assert [o.finish_reason for o in outputs if o.finish_reason] == ["length"] * 3


@pytest.mark.parametrize("num_top", [0, 1, 20])
def test_the_requested_number_of_alternatives_is_returned(
    make_engine: MakeEngine, prompts: Prompts, log_softmax: list[Any], num_top: int
) -> None:
    engine = make_engine()
    (request,) = start(engine, [prompts[9]], params(0, num_top))
    gathered = gathered_of(run_to_end(engine), request)
    assert {len(entry.top) for entry in gathered} == {num_top}
    check(gathered, prompts[9], log_softmax[9], num_top)


def test_no_prompt_logprobs_unless_requested(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine()
    start(engine, [prompts[9]], SamplingParams(max_tokens=0))
    (output,) = run_to_end(engine)
    assert (output.token_ids, output.finish_reason) == ((), "length")
    assert output.prompt_logprobs is None


def test_a_prompt_may_fill_the_whole_kv_cache(make_engine: MakeEngine) -> None:
    engine = make_engine(num_kv_blocks=4)
    (request,) = start(engine, [[5] * 128], params(0))
    assert len(tuple(gathered_of(run_to_end(engine), request))) == 127
    with pytest.raises(ContextLengthError, match="129 tokens; the KV cache .* holds 128"):
        engine.make_request([5] * 129, params(0))


def test_an_aborted_prompt_frees_its_blocks(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine(max_num_batched_tokens=16)
    (request,) = start(engine, [prompts[23]], params(4))
    engine.step()
    engine.abort(request.request_id)
    assert not engine.has_work
    check_blocks(engine.kv, [])


def test_rows_in_one_batch_give_the_same_as_rows_alone() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (5, 400_000)).astype(np.float32)
    tokens = np.arange(6)
    whole, parts = PromptLogprobs(tokens, 2), PromptLogprobs(tokens, 2)
    gather_prompt_logprobs(whole, logits_of(logits))
    for row in logits:
        gather_prompt_logprobs(parts, logits_of(row[None]))
    assert tuple(whole) == tuple(parts)
    best = np.argmax(logits, axis=1).tolist()
    assert [entry.top[0][0] for entry in whole] == best
