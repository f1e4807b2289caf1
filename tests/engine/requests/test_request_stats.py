"""What the engine counts of requests for the metrics."""

from collections.abc import Callable
from time import perf_counter

import pytest
from support.engine_helpers import generate, make_sequence, pool, run_to_end, start

from server.engine.engine import LLMEngine
from server.engine.requests.request_stats import RequestStats
from server.host.metrics import EngineStats
from server.payloads import SamplingParams

MakeEngine = Callable[..., LLMEngine]
Prompts = list[list[int]]


def params(max_tokens: int, **fields: object) -> SamplingParams:
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=0.0,
        ignore_eos=True,
        **fields,  # type: ignore[arg-type]
    )


def test_a_value_for_each_request_and_for_each_gap(
    make_engine: MakeEngine, prompts: Prompts
) -> None:
    engine = make_engine(enable_prefix_caching=True)
    began = perf_counter()
    generate(engine, [prompts[-1]], params(5))
    generate(engine, [prompts[-1], prompts[0]], params(3))
    seconds = perf_counter() - began
    stats = engine.stats
    assert stats.finished == {"stop": 0, "length": 3, "abort": 0, "error": 0, "repetition": 0}
    assert stats.inter_token.count == stats.fine_inter_token.count == 4 + 2 + 2
    assert stats.answer_sizes.sum == stats.generated_tokens == 5 + 3 + 3
    for histogram in (stats.first_token, stats.whole, stats.queue, stats.prefill, stats.decode):
        assert histogram.count == 3
        assert 0 <= histogram.sum <= 2 * seconds
    assert stats.prompt_sizes.sum == stats.prompt_tokens == stats.looked_up_tokens
    assert 0 < stats.cached_tokens == stats.prompt_tokens - stats.computed_sizes.sum
    assert stats.step_tokens.count == stats.num_steps
    assert stats.step_tokens.sum == stats.tokens


def test_choices_count_as_one_request(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine()
    generate(engine, [prompts[3]], params(4, n=3))
    stats = engine.stats
    assert stats.finished["length"] == stats.first_token.count == stats.num_choices.count == 1
    assert (stats.answer_sizes.sum, stats.longest_choices.sum) == (12, 4)
    assert stats.inter_token.count == 9


def test_beams_and_pooled_prompts(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine()
    generate(engine, [prompts[3]], params(4, num_beams=2))
    assert engine.stats.finished["length"] == engine.stats.first_token.count == 1
    assert engine.stats.generated_tokens == engine.stats.answer_sizes.sum == 4
    pool(engine, [prompts[2]])
    assert engine.stats.finished["stop"] == 1
    assert engine.stats.prompt_sizes.count == 2
    assert engine.stats.first_token.count == engine.stats.answer_sizes.count == 1


@pytest.mark.parametrize(("index", "reason"), [(None, "abort"), (0, "stop")])
def test_who_leaves_and_who_has_found_a_stop_string(
    make_engine: MakeEngine, prompts: Prompts, index: int | None, reason: str
) -> None:
    engine = make_engine()
    (request,) = start(engine, [prompts[3]], params(50))
    for _ in range(4):
        engine.step()
    engine.abort(request.request_id, index)
    assert engine.stats.finished[reason] == engine.stats.whole.count == 1
    run_to_end(engine)


def test_gaps_of_sequences_that_got_their_last_tokens_apart() -> None:
    stats = EngineStats()
    counted = RequestStats(stats)
    sequences = [make_sequence([1, 2]) for _ in range(6)]
    for round_ in ([0, 1, 2, 3], [0, 1, 4, 2], [0, 1, 2, 3, 4, 5]):
        counted.begin_step()
        for number in round_:
            counted.note_token(sequences[number])
        counted.end_step()
    assert stats.first_token.count == 6
    assert stats.inter_token.count == 3 + 5
    assert stats.generated_tokens == 14


def test_a_token_costs_little() -> None:
    """64 streams: well below a microsecond a token on an idle machine."""
    counted = RequestStats(EngineStats())
    sequences = [make_sequence([1, 2]) for _ in range(64)]
    best = min(_ns_per_token(counted, sequences) for _ in range(30))
    assert best < 3000


def _ns_per_token(counted: RequestStats, sequences: list[object]) -> float:
    began = perf_counter()
    counted.begin_step()
    for sequence in sequences:
        counted.note_token(sequence)  # type: ignore[arg-type]
    counted.end_step()
    return (perf_counter() - began) / len(sequences) * 1e9
