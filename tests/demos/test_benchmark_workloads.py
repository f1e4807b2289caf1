"""The workloads of the benchmark demo."""

import numpy as np
import pytest
from workloads import (
    LONG_AMID_SHORT,
    MIN_LENGTH,
    NUM_SHORT,
    NUM_TURNS,
    NUM_USERS,
    OUTPUT_LENGTHS,
    PREFIX_LENGTH,
    PROMPT_LENGTHS,
    WORKLOADS,
    Conversation,
    LoadSettings,
    find_workloads,
)

SETTINGS = LoadSettings(vocab_size=10_000, num_requests=8)
RATE = 5.0


def make(name: str, settings: LoadSettings = SETTINGS, index: int = 1) -> list[Conversation]:
    (workload,) = find_workloads([name])
    return workload.make_round(settings, index, RATE)


@pytest.mark.parametrize("name", [workload.name for workload in WORKLOADS])
def test_same_seed_and_round_give_the_same_requests(name: str) -> None:
    other_seed = LoadSettings(vocab_size=10_000, num_requests=8, seed=4)
    assert make(name) == make(name)
    assert make(name) != make(name, index=2)
    assert make(name) != make(name, other_seed)


def test_no_two_workloads_share_a_prompt() -> None:
    starts = [make(one.name)[0].turns[0].token_ids[:4] for one in WORKLOADS]
    assert len(set(starts)) == len(starts)


def test_lengths_are_lognormal_with_the_stated_mean_and_median() -> None:
    rng = np.random.default_rng(0)
    for distribution in (PROMPT_LENGTHS, OUTPUT_LENGTHS):
        lengths = distribution.sample(rng, 200_000, cap=10**9)
        assert np.mean(lengths) == pytest.approx(distribution.mean, rel=0.05)
        assert np.median(lengths) == pytest.approx(distribution.median, rel=0.03)


def test_lengths_are_capped() -> None:
    settings = LoadSettings(vocab_size=1000, num_requests=500, length_cap=100)
    turns = [turn for one in make("W1", settings) for turn in one.turns]
    lengths = [len(turn.token_ids) for turn in turns] + [turn.max_tokens for turn in turns]
    assert (min(lengths), max(lengths)) == (MIN_LENGTH, 100)


def test_token_ids_stay_away_from_both_ends_of_the_vocabulary() -> None:
    settings = LoadSettings(vocab_size=1000, num_requests=100)
    token_ids = {i for one in make("W1", settings) for i in one.turns[0].token_ids}
    assert min(token_ids) >= 250
    assert max(token_ids) < 750


def test_w1_is_all_at_once_and_w2_comes_at_the_rate() -> None:
    settings = LoadSettings(vocab_size=100, num_requests=2000, length_cap=4)
    assert {one.arrival_s for one in make("W1", settings)} == {0.0}
    gaps_s = np.diff([one.arrival_s for one in make("W2@0.5", settings)])
    assert gaps_s.mean() == pytest.approx(1 / RATE, rel=0.1)


def test_w3_shares_a_prefix_and_nothing_else() -> None:
    conversations = make("W3")
    assert [len(one.turns) for one in conversations] == [NUM_TURNS] * NUM_USERS
    firsts = [one.turns[0].token_ids for one in conversations]
    assert len({first[:PREFIX_LENGTH] for first in firsts}) == 1
    assert len({first[PREFIX_LENGTH:][:16] for first in firsts}) == NUM_USERS
    later = [turn for one in conversations for turn in one.turns[1:]]
    assert all(64 <= len(turn.token_ids) <= 128 for turn in later)
    assert all(64 <= turn.max_tokens <= 128 for turn in later)


def test_w4_is_one_prompt_of_each_length() -> None:
    lengths = [len(make(name)[0].turns[0].token_ids) for name in ("W4@4k", "W4@8k")]
    assert lengths == [4096, 8192]


def test_w5_asks_for_the_latency_of_the_short_ones() -> None:
    conversations = make("W5")
    (long,) = (one for one in conversations if one.is_background)
    assert len(long.turns[0].token_ids) == LONG_AMID_SHORT
    assert len(conversations) == NUM_SHORT + 1
    assert conversations[0].arrival_s < long.arrival_s < conversations[-1].arrival_s


def test_w7_is_a_burst_with_one_prefix() -> None:
    prompts = [one.turns[0].token_ids for one in make("W7")]
    assert len({prompt[:PREFIX_LENGTH] for prompt in prompts}) == 1
    assert len(set(prompts)) == NUM_USERS


def test_names_are_of_rows_or_families_and_w1_comes_first() -> None:
    found = [one.name for one in find_workloads(["W4@8k", "W2", "W1"])]
    assert found == ["W1", "W2@0.5", "W2@0.75", "W2@1.0", "W4@8k"]
    with pytest.raises(KeyError, match="W9"):
        find_workloads(["W1", "W9"])
