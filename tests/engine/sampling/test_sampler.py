"""Sampler: each method against a simple reference; rows and requests do not affect each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.engine_helpers import logits_of, make_sequence, values_of

from server.engine.sampling.logits import Logits
from server.engine.sampling.random_sampling import NUM_UNIFORMS, sample_randomly
from server.engine.sampling.sampler import BLOCK_ELEMENTS, sample
from server.engine.sequence import Sequence as EngineSequence
from server.payloads import SamplingParams

Array = npt.NDArray[Any]

NUM_SAMPLES = 2000


def random_logits(rows: int, vocab: int, seed: int = 0, scale: float = 3.0) -> Array:
    return np.random.default_rng(seed).normal(0, scale, (rows, vocab)).astype(np.float32)


def make(prompt: Sequence[int] = (0,), answer: Sequence[int] = (), **params: Any) -> EngineSequence:
    sequence = make_sequence(prompt, **params)
    for token in answer:
        sequence.token_ids.append(token)
    return sequence


def chosen(logits: Array, sequences: list[EngineSequence], rows: list[int] | None = None) -> list:
    return [token.token_id for token in sample(logits_of(logits), sequences, rows)]


def reference(row: Array, params: SamplingParams) -> Array:
    """The probabilities of all tokens, computed in the textbook way."""
    scaled = row.astype(np.float64) / params.temperature
    probs = np.exp(scaled - scaled.max())
    probs /= probs.sum()
    probs[probs < params.min_p * probs.max()] = 0
    if 0 < params.top_k < len(probs):
        probs[probs < np.sort(probs)[-params.top_k]] = 0
    probs /= probs.sum()
    if params.top_p < 1:
        order = np.argsort(-probs, kind="stable")
        needed = int(np.searchsorted(np.cumsum(probs[order]), params.top_p - 1e-9)) + 1
        probs[order[needed:]] = 0
    return probs / probs.sum()


def repeated(row: Array, count: int) -> Logits:
    return logits_of(row[None]).select(np.zeros(count, np.int64))


def spread_out(uniforms: Array) -> Array:
    """The same random number for every use."""
    return np.repeat(uniforms[:, None], NUM_UNIFORMS, axis=1)


def sampled_distribution(row: Array, params: SamplingParams) -> Array:
    """How often each token is sampled for uniforms spread evenly over [0, 1)."""
    uniforms = spread_out((np.arange(NUM_SAMPLES) + 0.5) / NUM_SAMPLES)
    tokens = sample_randomly(repeated(row, NUM_SAMPLES), [params] * NUM_SAMPLES, uniforms)
    return np.bincount(tokens, minlength=len(row)) / NUM_SAMPLES


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0.3},
        {"temperature": 2.0},
        {"top_k": 1},
        {"top_k": 7},
        {"top_k": 10**9},
        {"top_p": 0.0},
        {"top_p": 0.2},
        {"top_p": 0.9},
        {"min_p": 0.05},
        {"min_p": 1.0},
        {"temperature": 1.7, "top_k": 20, "top_p": 0.7},
        {"temperature": 0.7, "top_p": 0.95, "min_p": 0.02},
        {"top_k": 5, "min_p": 0.3, "top_p": 0.99},
    ],
    ids=str,
)
@pytest.mark.parametrize("vocab", [3, 257, 700])
def test_samples_follow_the_reference_distribution(vocab: int, fields: dict[str, Any]) -> None:
    row = random_logits(1, vocab, seed=vocab, scale=1.5)[0]
    params = SamplingParams(**fields)
    expected = reference(row, params)
    found = sampled_distribution(row, params)
    assert set(np.flatnonzero(found)) <= set(np.flatnonzero(expected))
    # Each token has one interval of the uniforms, so it is off by at most one at either end.
    assert np.abs(found - expected).max() <= 2 / NUM_SAMPLES


def test_seeded_requests_follow_the_distribution() -> None:
    row = random_logits(1, 12, seed=3, scale=1.0)
    sequences = [make(seed=seed, temperature=0.8) for seed in range(NUM_SAMPLES)]
    tokens = chosen(np.tile(row, (NUM_SAMPLES, 1)), sequences)
    expected = reference(row[0], SamplingParams(temperature=0.8)) * NUM_SAMPLES
    found = np.bincount(tokens, minlength=12)
    chi_square = ((found - expected) ** 2 / expected).sum()
    assert chi_square < 35, "above the 99.97th percentile of 11 degrees of freedom"


def test_top_p_can_keep_more_tokens_than_the_first_tiles_hold() -> None:
    row = random_logits(1, 2000, seed=4, scale=0.1)[0]
    params = SamplingParams(top_p=0.9)
    uniforms = np.random.default_rng(5).random((NUM_SAMPLES, NUM_UNIFORMS))
    uniforms[:, 0] = np.linspace(0, 1, NUM_SAMPLES, endpoint=False)
    tokens = sample_randomly(repeated(row, NUM_SAMPLES), [params] * NUM_SAMPLES, uniforms)
    nucleus = np.flatnonzero(reference(row, params))
    assert len(nucleus) > 1000
    assert set(tokens) <= set(nucleus)
    assert len(set(tokens)) > 0.9 * len(nucleus)


@pytest.mark.parametrize("uniform", [0.0, np.nextafter(1, 0)])
def test_extreme_uniforms_give_possible_tokens(uniform: float) -> None:
    row = np.full(600, -np.inf, np.float32)
    row[[5, 300, 400]] = 0.0
    params = SamplingParams()
    (token,) = sample_randomly(logits_of(row[None]), [params], spread_out(np.array([uniform])))
    assert token == (5 if uniform == 0.0 else 400)


def test_ties_at_the_edge_of_top_k_and_top_p_stay_together() -> None:
    row = np.array([1, 5, 5, 5, 0], np.float32)
    for params in (SamplingParams(top_k=2), SamplingParams(top_p=0.5)):
        assert set(np.flatnonzero(sampled_distribution(row, params))) == {1, 2, 3}


def test_greedy_takes_the_likeliest_and_the_first_of_equals() -> None:
    logits = np.array([[0, 3, 1, 3], [9, 1, 1, 1], [2, 2, 2, 2]], np.float32)
    assert chosen(logits, [make(temperature=0.0) for _ in range(3)]) == [1, 0, 0]


def test_greedy_and_random_rows_mix() -> None:
    logits = random_logits(6, 300)
    sequences = [make(temperature=float(i % 2), top_k=1) for i in range(6)]
    assert chosen(logits, sequences) == logits.argmax(1).tolist()


def test_rows_can_repeat_and_skip() -> None:
    logits = random_logits(3, 50)
    sequences = [make(temperature=0.0), make(top_k=1), make(temperature=0.0), make(top_k=1)]
    best = logits.argmax(1)
    assert chosen(logits, sequences, [2, 2, 0, 2]) == best[[2, 2, 0, 2]].tolist()


def test_biases_of_sequences_that_share_a_row_do_not_mix() -> None:
    logits = random_logits(2, 300)
    sequences = [make(temperature=0.0, logit_bias={i: 100.0} if i else {}) for i in range(5)]
    best = logits.argmax(1)
    assert chosen(logits, sequences, [0, 0, 1, 0, 1]) == [best[0], 1, 2, 3, 4]
    assert chosen(logits, sequences[:1], [1]) == [best[1]]


@pytest.mark.parametrize(
    "fields",
    [
        {"repetition_penalty": 1.7},
        {"repetition_penalty": 0.6},
        {"frequency_penalty": 1.5},
        {"presence_penalty": -2.0},
        {"repetition_penalty": 1.3, "frequency_penalty": -0.7, "presence_penalty": 0.9},
    ],
    ids=str,
)
def test_penalties_equal_the_reference(fields: dict[str, float]) -> None:
    prompt, answer = [1, 2, 2, 7], [3, 3, 3, 2, 9]
    logits = random_logits(1, 12, seed=5, scale=1.0)
    params = SamplingParams(temperature=0.0, **fields)
    expected = logits[0].astype(np.float64)
    for token in {*prompt, *answer}:
        factor = params.repetition_penalty
        expected[token] = (
            expected[token] / factor if expected[token] > 0 else expected[token] * factor
        )
    for token in set(answer):
        expected[token] -= params.frequency_penalty * answer.count(token) + params.presence_penalty
    # One more token, without a penalty, wins unless the tested one has a higher logit.
    for token in range(12):
        for margin, wins in ((0.01, True), (-0.01, False)):
            shifted = np.append(logits[0], np.float32(expected[token] - margin))
            shifted[np.delete(np.arange(12), token)] = -50.0
            sequence = make(prompt, answer, temperature=0.0, **fields)
            assert (chosen(shifted[None], [sequence]) == [token]) is wins


def test_penalties_count_new_tokens() -> None:
    sequence = make([1], temperature=0.0, frequency_penalty=1.0)
    logits = np.array([[0.0, 2.5, 1.9]], np.float32)
    tokens = []
    for _ in range(6):
        (token,) = chosen(logits, [sequence])
        tokens.append(token)
        sequence.token_ids.append(token)
        sequence.penalty_counts.add(token)
    assert tokens == [1, 2, 1, 2, 1, 0]


def test_a_copy_counts_its_own_tokens() -> None:
    sequence = make([1], [3], temperature=0.0, frequency_penalty=1.0)
    logits = np.array([[0.0, 2.5, 1.9, 0.0]], np.float32)
    assert chosen(logits, [sequence]) == [1]
    copied = sequence.copy()
    copied.append(1)
    copied.append(0)
    assert chosen(logits, [sequence]) == [1]
    assert chosen(logits, [copied]) == [2]
    fresh = make([1], [3, 1, 0], temperature=0.0, frequency_penalty=1.0)
    assert chosen(logits, [fresh]) == [2]
    for found in (copied, fresh):
        assert found.penalty_counts.token_ids.view().tolist() == [1, 3, 0]
        assert found.penalty_counts.generated.view().tolist() == [1, 1, 1]


def test_penalties_change_random_choices() -> None:
    logits = np.array([[5.0, 5.0, -9.0]], np.float32)
    sequences = [make([0], [1, 1], seed=i, frequency_penalty=2.0, top_p=0.5) for i in range(50)]
    assert set(chosen(logits, sequences, [0] * 50)) == {0}


def test_a_bias_changes_the_logits_of_its_tokens_only() -> None:
    logits = np.array([[1.0, 3.0, 2.0, 0.0]], np.float32)
    for bias, expected in (
        ({}, 1),
        ({1: -0.9}, 1),
        ({1: -1.1}, 2),
        ({1: -1.1, 2: -1.1}, 1),
        ({3: 100.0}, 3),
        ({1: -100.0, 2: -100.0}, 0),
    ):
        assert chosen(logits, [make(temperature=0.0, logit_bias=bias)]) == [expected]
        assert chosen(logits, [make(top_k=1, logit_bias=bias)]) == [expected]


def test_a_bias_comes_before_the_penalties() -> None:
    logits = np.array([[-1.0, 0.9]], np.float32)
    # Biased first, token 0 has the positive logit 2, which the penalty halves.
    sequence = make([0], temperature=0.0, logit_bias={0: 3.0}, repetition_penalty=2.0)
    assert chosen(logits, [sequence]) == [0]
    assert chosen(logits + np.float32([0, 0.2]), [sequence]) == [1]


@pytest.mark.parametrize("fields", [{"temperature": 0.0}, {"top_k": 1}, {"seed": 1}], ids=str)
def test_end_tokens_are_not_chosen_before_min_tokens(fields: dict[str, Any]) -> None:
    logits = np.array([[9.0, 1.0, 9.0, -50.0]], np.float32)
    for num_generated, expected in ((0, 1), (1, 1), (2, 0)):
        sequence = make([1], [1] * num_generated, min_tokens=2, **fields)
        sequence.request.end_token_ids = frozenset({0, 2})
        (token,) = chosen(logits, [sequence])
        assert token == expected or (expected == 0 and token == 2)


def test_min_tokens_changes_nothing_without_end_tokens() -> None:
    logits = random_logits(1, 50)
    assert chosen(logits, [make(temperature=0.0, min_tokens=5)]) == [int(logits.argmax())]


def test_end_tokens_are_chosen_if_there_are_no_others() -> None:
    sequences = [make(temperature=t, min_tokens=5) for t in (0.0, 1.0)]
    for sequence in sequences:
        sequence.request.end_token_ids = frozenset(range(4))
    assert set(chosen(random_logits(2, 4), sequences)) <= set(range(4))


def test_a_seed_gives_the_same_tokens_wherever_its_row_is() -> None:
    logits = random_logits(40, 1000, seed=6)
    fields = {"temperature": 1.3, "top_p": 0.95, "seed": 11}
    alone = [chosen(logits[:1], [make(**fields)])[0]]
    sequence = make(**fields)
    alone = [chosen(row[None], [sequence])[0] for row in logits]
    follower = make(**fields)
    for step, row in enumerate(logits):
        rng = np.random.default_rng(step)
        num_mates, position = rng.integers(1, 30), 0
        block = np.vstack([random_logits(num_mates, 1000, seed=step), row[None]])
        sequences = [make(seed=i, top_k=int(rng.integers(1, 50))) for i in range(num_mates)]
        position = int(rng.integers(num_mates + 1))
        order = [*range(num_mates)]
        order.insert(position, int(num_mates))
        sequences.insert(position, follower)
        assert chosen(block, sequences, order)[position] == alone[step]


def test_each_choice_of_a_seeded_request_has_its_own_random_numbers() -> None:
    row = np.zeros((1, 1000), np.float32)
    parent = make(seed=5, n=4)
    children = [EngineSequence(parent.request, index) for index in (1, 2, 3)]
    tokens = chosen(row, [parent, *children], [0] * 4)
    assert len(set(tokens)) == 4
    assert tokens[0] == chosen(row, [make(seed=5)])[0]


def test_without_a_seed_requests_differ() -> None:
    row = np.zeros((1, 10**5), np.float32)
    assert len(set(chosen(row, [make() for _ in range(8)], [0] * 8))) > 1


def test_the_logits_are_not_changed() -> None:
    logits = random_logits(5, 400)
    before = logits.copy()
    sequences = [
        make(temperature=0.0, logprobs=3),
        make(top_p=0.5, logprobs=0),
        make(min_p=0.1, top_k=3),
        make([1, 2], [3], temperature=0.0, repetition_penalty=2.0),
        make([1, 2], [3], frequency_penalty=1.0),
    ]
    read = logits_of(logits)
    sample(read, sequences)
    logits = np.stack([values_of(read, i) for i in range(5)])
    np.testing.assert_array_equal(logits, before)


def test_a_batch_larger_than_one_block_of_work() -> None:
    vocab = BLOCK_ELEMENTS // 3
    logits = np.zeros((7, vocab), np.float32)
    logits[np.arange(7), np.arange(7) * 1000] = 50.0
    assert chosen(logits, [make() for _ in range(7)]) == [i * 1000 for i in range(7)]


@pytest.mark.parametrize("num_top", [0, 1, 5, 20])
def test_logprobs_are_log_softmax_without_logits_processors(num_top: int) -> None:
    logits = random_logits(4, 300, seed=8)
    fields = [{"temperature": 0.0}, {"top_k": 5}, {"temperature": 0.2}, {"frequency_penalty": 2.0}]
    sequences = [make([1], [2], logprobs=num_top, **f) for f in fields]
    exact = logits.astype(np.float64)
    expected = exact - np.log(np.exp(exact).sum(1, keepdims=True))
    order = np.argsort(-expected, axis=1)[:, :num_top]
    best = np.take_along_axis(expected, order, 1)
    for row, token in enumerate(sample(logits_of(logits), sequences)):
        assert token.logprobs is not None
        assert token.logprobs.token_id == token.token_id
        assert token.logprobs.logprob == pytest.approx(
            float(expected[row, token.token_id]), abs=1e-5
        )
        assert [i for i, _ in token.logprobs.top] == order[row].tolist()
        assert [p for _, p in token.logprobs.top] == pytest.approx(best[row].tolist(), abs=1e-5)


def test_more_logprobs_than_the_vocabulary_has() -> None:
    (token,) = sample(logits_of(random_logits(1, 6)), [make(logprobs=20)])
    assert token.logprobs is not None
    assert sorted(i for i, _ in token.logprobs.top) == list(range(6))


def test_no_logprobs_unless_asked_for() -> None:
    (token,) = sample(logits_of(random_logits(1, 6)), [make()])
    assert token.logprobs is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_without_usable_logits_gives_no_token_and_others_do(bad: float) -> None:
    logits = random_logits(6, 300)
    best = logits.argmax(1).tolist()
    logits[1] = logits[3] = logits[5] = bad
    if bad > 0 or np.isnan(bad):
        logits[3] = 0
        logits[3, 250] = bad
    sequences = [
        make(temperature=0.0),
        make(temperature=0.0, logprobs=2),
        make(top_k=1),
        make(top_p=0.5, logprobs=2),
        make(temperature=0.0),
        make(temperature=0.0, repetition_penalty=2.0),
    ]
    assert chosen(logits, sequences) == [best[0], None, best[2], None, best[4], None]


def test_impossible_tokens_are_never_sampled() -> None:
    row = np.full((1, 500), -np.inf, np.float32)
    row[0, [3, 260, 499]] = [0.0, 1.0, 2.0]
    sequences = [make(seed=i, top_p=0.99, min_p=0.001) for i in range(60)]
    assert set(chosen(row, sequences, [0] * 60)) == {3, 260, 499}


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 1e-300},
        {"temperature": 1e-40},
        {"temperature": 1e-6},
        {"min_p": 1e-300},
        {"top_p": 1e-300},
        {"repetition_penalty": 1e300},
        {"repetition_penalty": 1e-300},
        {"repetition_penalty": 1e38, "temperature": 1e-30, "frequency_penalty": -2.0},
        {"repetition_penalty": 1e-44, "temperature": 0.0},
    ],
    ids=str,
)
def test_extreme_parameters_do_not_affect_other_rows(fields: dict[str, float]) -> None:
    logits = random_logits(2, 300)
    logits[:, 0] = 0.0
    tokens = chosen(logits, [make([0, 1, 2], [3], **fields), make(temperature=0.0)])
    assert tokens[0] in range(300)
    assert tokens[1] == logits[1].argmax()


def test_an_almost_greedy_temperature_takes_the_likeliest() -> None:
    logits = random_logits(1, 300)
    assert chosen(logits, [make(temperature=1e-300)]) == [int(logits.argmax())]


def test_nothing_to_choose_gives_nothing() -> None:
    assert sample(logits_of(np.empty((0, 10), np.float32)), []) == []


def test_only_allowed_tokens_are_chosen() -> None:
    logits = np.array([[5.0, 4.0, 3.0, 2.0]] * 3, np.float32)
    sequences = [
        make(temperature=0.0, allowed_token_ids=(3, 2)),
        make(allowed_token_ids=(3,)),
        make(temperature=0.0),
    ]
    assert chosen(logits, sequences) == [2, 3, 0]


@pytest.mark.parametrize(
    ("answer", "bad", "token"),
    [
        ((), ((0,),), 1),
        ((), ((0, 0),), 0),
        ((0,), ((0, 0),), 1),
        ((1, 2), ((1, 2, 0), (2, 1)), 2),
        ((2, 2), ((1, 2, 0),), 0),
        ((), ((0,), (1,), (2,), (3,)), 0),
    ],
)
def test_bad_words_are_not_completed(
    answer: tuple[int, ...], bad: tuple[tuple[int, ...], ...], token: int
) -> None:
    """The prompt does not count; and where nothing else is possible a bad word is written."""
    logits = np.array([[5.0, 4.0, 3.0, 2.0]], np.float32)
    sequence = make(prompt=(0, 1, 2), answer=answer, temperature=0.0, bad_word_ids=bad)
    assert chosen(logits, [sequence]) == [token]


def test_seeds_of_64_bits_differ() -> None:
    seeds = (-(2**63), -5, -1, 0, 5, 2**32, 2**63 - 1)
    row = np.zeros((1, 1000), np.float32)
    found = [[chosen(row, [make(seed=seed)]) for _ in range(2)] for seed in seeds]
    assert all(first == second for first, second in found)
    assert len({first[0] for first, _ in found}) == len(seeds)
