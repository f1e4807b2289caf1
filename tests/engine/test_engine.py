"""LLMEngine over a real model: every way of batching gives transformers' tokens."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.cpu import needs_bf16
from support.engine_helpers import check_blocks, generate, run_to_end, start, tokens_of
from support.greedy_requests import SOME, MakeEngine, Prompts, params, some

from server.engine.scheduling.step_costs import StepCosts
from server.engine.sequence import SequenceStatus


def test_greedy_tokens_are_those_of_transformers(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    assert generate(make_engine(), prompts, params(64)) == greedy


@pytest.mark.parametrize(
    "fields",
    [
        {"max_num_batched_tokens": 7},
        {"max_num_batched_tokens": 16},
        {"max_num_batched_tokens": 64},
        {"max_num_batched_tokens": 512},
        {"max_num_seqs": 1},
        {"max_num_seqs": 3},
        {"dynamic_split_fuse": False, "max_num_batched_tokens": 320},
        {"dynamic_split_fuse": False, "max_num_batched_tokens": 320, "num_kv_blocks": 11},
        {"num_kv_blocks": 11},
        {"num_kv_blocks": 11, "enable_prefix_caching": True},
        {"num_kv_blocks": 12, "max_num_batched_tokens": 16, "enable_prefix_caching": True},
    ],
    ids=str,
)
def test_batching_does_not_change_the_tokens(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, fields: dict[str, Any]
) -> None:
    engine = make_engine(**fields)
    assert generate(engine, some(prompts), params()) == some(greedy, 24)


@pytest.mark.parametrize("caching", [True, False])
def test_preemption_does_not_change_the_tokens(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, caching: bool
) -> None:
    engine = make_engine(num_kv_blocks=6, enable_prefix_caching=caching)
    few = slice(8, 14)
    assert generate(engine, prompts[few], params(64)) == greedy[few]
    assert engine.stats.preemptions > 0


def test_cached_prefixes_do_not_change_the_tokens(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine(enable_prefix_caching=True)
    assert generate(engine, some(prompts), params()) == some(greedy, 24)
    assert engine.stats.cached_tokens == 0
    requests = start(engine, some(prompts), params())
    outputs = run_to_end(engine)
    assert [tokens_of(outputs, request) for request in requests] == some(greedy, 24)
    # All but the last token; of 1, 8, 32, 33, 65, 128 and 300.
    expected = [0, 7, 31, 32, 64, 127, 299]
    assert [request.num_cached_tokens for request in requests] == expected
    assert engine.stats.cached_tokens == sum(expected) > 0
    last = [o for o in outputs if o.request_id == requests[-1].request_id][-1]
    assert last.num_cached_tokens == expected[-1]


@pytest.mark.parametrize("fields", [{}, {"num_kv_blocks": 20}, {"max_num_batched_tokens": 512}])
def test_a_burst_reads_its_common_prefix_once(
    make_engine: MakeEngine, prompts: Prompts, fields: dict[str, Any]
) -> None:
    engine = make_engine(enable_prefix_caching=True, **fields)
    prefix, tails = prompts[-1][:288], prompts[8:16]
    burst = [prefix + tail for tail in tails]
    answers = generate(engine, burst, params(1))
    assert engine.stats.prefix_waits > 0
    assert engine.stats.tokens == len(prefix) + sum(map(len, tails))
    assert engine.stats.cached_tokens == len(prefix) * (len(burst) - 1)
    alone = make_engine(enable_prefix_caching=False)
    for prompt, answer in zip(burst, answers, strict=True):
        assert generate(alone, [prompt], params(1)) == [answer]


@pytest.mark.parametrize("caching", [True, False])
def test_equal_prompts_at_once_give_equal_answers(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, caching: bool
) -> None:
    engine = make_engine(enable_prefix_caching=caching)
    assert generate(engine, [prompts[-1]] * 16, params(64)) == [greedy[-1]] * 16
    num_read = engine.stats.tokens - 16 * 63
    assert num_read == (300 + 15 * (300 - 288) if caching else 16 * 300)


def test_a_conversation_goes_on_from_its_own_answer(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine(enable_prefix_caching=True)
    prompt, answer = prompts[15], greedy[15]
    generate(engine, [prompt], params(40))
    (request,) = start(engine, [prompt + answer[:40]], params(20))
    assert tokens_of(run_to_end(engine), request) == answer[40:60]
    assert request.num_cached_tokens == 104, "all but the token that came last"


@pytest.mark.parametrize(("num_alike", "num_cached"), [(50, 50), (35, 32), (20, 20), (3, 0)])
def test_prompts_that_differ_in_the_middle_of_a_block_share_its_beginning(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, num_alike: int, num_cached: int
) -> None:
    engine = make_engine(enable_prefix_caching=True)
    prompt, answer = prompts[20], greedy[20]
    generate(engine, [prompt[:num_alike] + [7] * 40, prompts[1]], params(3))
    (request,) = start(engine, [prompt], params())
    assert tokens_of(run_to_end(engine), request) == answer[:24]
    assert request.num_cached_tokens == num_cached


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"enable_prefix_caching": True},
        {"max_num_batched_tokens": 16},
        {"num_kv_blocks": 12},
        {"num_kv_blocks": 12, "enable_prefix_caching": True},
        {"dynamic_split_fuse": False, "max_num_batched_tokens": 320},
    ],
    ids=str,
)
def test_choices_share_the_prompt_and_go_their_own_ways(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, fields: dict[str, Any]
) -> None:
    engine = make_engine(**fields)
    for _ in range(2):
        requests = start(engine, some(prompts), params(n=3))
        outputs = run_to_end(engine)
        for request, expected in zip(requests, some(greedy, 24), strict=True):
            for index in range(3):
                assert tokens_of(outputs, request, index) == expected
    if "num_kv_blocks" not in fields:
        assert (engine.stats.cached_tokens > 0) is ("enable_prefix_caching" in fields)


def test_random_choices_differ_and_repeat_by_seed(
    make_engine: MakeEngine, prompts: Prompts
) -> None:
    engine = make_engine()
    seeded = params(16, temperature=1.0, seed=3, n=3)
    (first,) = start(engine, [prompts[10]], seeded)
    outputs = run_to_end(engine)
    choices = [tokens_of(outputs, first, index) for index in range(3)]
    assert len({tuple(choice) for choice in choices}) == 3
    start(engine, some(prompts), params(20, temperature=0.7))
    (second,) = start(engine, [prompts[10]], seeded)
    start(engine, some(prompts), params(20, temperature=1.5, seed=3))
    outputs = run_to_end(engine)
    assert [tokens_of(outputs, second, index) for index in range(3)] == choices


def test_a_seed_survives_preemption(make_engine: MakeEngine, prompts: Prompts) -> None:
    seeded = params(64, temperature=0.8, seed=7, frequency_penalty=0.5)
    few = prompts[8:14]
    expected = generate(make_engine(), few, seeded)
    engine = make_engine(num_kv_blocks=6)
    assert generate(engine, few, seeded) == expected
    assert engine.stats.preemptions > 0


@pytest.mark.parametrize(
    ("precision", "hint"), [("u8", "f32"), pytest.param("bf16", "bf16", marks=needs_bf16)]
)
def test_smaller_kv_precisions_stay_close(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, precision: str, hint: str
) -> None:
    properties = {"KV_CACHE_PRECISION": precision, "INFERENCE_PRECISION_HINT": hint}
    engine = make_engine(plugin_config=properties, enable_prefix_caching=True)
    for _ in range(2):
        found = np.array(generate(engine, some(prompts), params()))
        # One other token changes all that follow, so this is no more than a check of sanity.
        assert (found == some(greedy, 24)).mean() > 0.6


def test_the_whole_cache_can_be_used(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts
) -> None:
    engine = make_engine(num_kv_blocks=4)
    assert engine.limits.max_num_tokens == 129, "the last token needs no KV"
    requests = start(engine, [prompts[15], prompts[15]], params(64))
    outputs = []
    num_used = []
    while engine.has_work:
        outputs += engine.step()
        num_used.append(engine.kv.num_used_blocks)
    assert [tokens_of(outputs, request) for request in requests] == [greedy[15]] * 2
    assert max(num_used) == 4


def test_running_out_of_blocks_keeps_every_block_accounted_for(
    make_engine: MakeEngine, prompts: Prompts
) -> None:
    engine = make_engine(num_kv_blocks=9, max_num_batched_tokens=24, enable_prefix_caching=True)
    start(engine, prompts[8:16], params(40, n=2))
    while engine.has_work:
        engine.step()
        sequences = engine._requests.sequences
        assert all(s.status is not SequenceStatus.FINISHED for s in sequences)
        check_blocks(engine.kv, sequences)
    assert engine.stats.preemptions > 0


def test_statistics_add_up(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine()
    generate(engine, some(prompts), params(5))
    stats = engine.stats
    num_prompt_tokens = sum(map(len, some(prompts)))
    assert stats.prompt_tokens == num_prompt_tokens
    assert stats.generated_tokens == 5 * len(SOME)
    assert stats.tokens == num_prompt_tokens + 4 * len(SOME)
    assert stats.failed_steps == 0
    assert set(stats.as_dict()) >= {"num_steps", "step_s", "infer_s", "preemptions"}


@pytest.mark.parametrize("target_ms", [1, 40, 10**6])
def test_a_target_latency_does_not_change_the_tokens(
    make_engine: MakeEngine, prompts: Prompts, greedy: Prompts, target_ms: int
) -> None:
    engine = make_engine(target_inter_token_latency_ms=target_ms)
    assert generate(engine, some(prompts), params()) == some(greedy, 24)


class SecondsPerToken(StepCosts):
    """Predicts a second for each token, whatever was observed."""

    def __init__(self, padded: Callable[[int], int]) -> None:
        super().__init__(padded)
        self.observed: list[tuple[int, float]] = []

    def observe(
        self, num_tokens: int, context: float, seconds: float, num_prompt_rows: int = 0
    ) -> None:
        assert seconds > 0
        self.observed.append((num_tokens, context))

    def predict(self, num_tokens: int, context: float, num_prompt_rows: int = 0) -> float:
        return num_tokens


def test_what_steps_cost_limits_them_while_answers_are_written(
    make_engine: MakeEngine, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.engine.engine.StepCosts", SecondsPerToken)
    monkeypatch.setattr("server.engine.model.warm_up.MAX_TOKENS", 256)
    monkeypatch.setattr("server.engine.model.warm_up.LOAD_S", 1e9)
    engine = make_engine(target_inter_token_latency_ms=1)
    engine.warm_up.stop()
    costs = engine._costs
    assert isinstance(costs, SecondsPerToken)
    assert {1, 32, 256} <= {num_tokens for num_tokens, _ in costs.observed}, "after a warm-up"
    costs.observed.clear()
    start(engine, [prompts[3]], params(4))
    engine.step()
    start(engine, [prompts[-1]], params(1))
    run_to_end(engine)
    # The prompt is long: after a chunk it leaves a step to the answer.
    assert [num_tokens for num_tokens, _ in costs.observed] == [5, 33, 1, 33, 236]
    # 32 tokens of the long prompt follow 32, and 1 of the other follows 7 tokens.
    assert costs.observed[3][1] == 32 * (1 + 32 / 8) + 7 * (1 + 1 / 8)


def test_loading_reports_its_progress_up_to_the_end(make_engine: MakeEngine) -> None:
    told: list[tuple[str, float]] = []
    make_engine(on_progress=lambda text, fraction: told.append((text, fraction)))
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert [told[0][0], told[-1]] == ["compiling the model", ("loaded", 1.0)]
