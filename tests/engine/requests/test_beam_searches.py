"""Beam search with an invented model: exact where that can be computed, and no block is lost."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.engine_helpers import check_blocks, logits_of, make_request, values_of
from support.fake_engine import NO_TARGET

from server.engine.kv.kv_cache_manager import KVCacheManager
from server.engine.model.model_runner import StepOutput
from server.engine.requests.beam_candidates import find_candidates
from server.engine.requests.beam_search import BeamSearch
from server.engine.requests.beam_searches import BeamSearches
from server.engine.requests.outputs import SequenceOutput
from server.engine.sampling.sampler import BAD_LOGITS
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import EngineRequest, Sequence
from server.host.metrics import EngineStats

Logits = Callable[[tuple[int, ...]], npt.NDArray[np.float32]]

BLOCK_SIZE = 4
END = 0


def random_logits(vocab_size: int) -> Logits:
    """A model whose logits depend on all tokens so far and nothing else."""

    def logits(tokens: tuple[int, ...]) -> npt.NDArray[np.float32]:
        rng = np.random.default_rng([*tokens, 10**6])
        return rng.normal(0, 2, vocab_size).astype(np.float32)

    return logits


def make_search(tokens: list[int], max_tokens: int, num_beams: int, **params: Any) -> EngineRequest:
    fields = {"temperature": 0.0, "n": num_beams, "num_beams": num_beams, **params}
    request = make_request(tokens, max_tokens, **fields)
    request.end_token_ids = frozenset({END})
    return request


class Bench:
    """The parts of an engine that beams need, with few blocks."""

    def __init__(self, logits: Logits, num_blocks: int = 1000, budget: int = 64) -> None:
        self.logits = logits
        self.kv = KVCacheManager(num_blocks, BLOCK_SIZE, enable_prefix_caching=True)
        self.stats = EngineStats()
        self.scheduler = Scheduler(self.kv, budget, budget, True, 10**6, self.stats, NO_TARGET)
        self.searches = BeamSearches(self.stats)
        self.all: dict[int, BeamSearch] = {}

    def add(self, request: EngineRequest) -> None:
        first = self.searches.add(request, request.request_id)
        assert isinstance(first.group, BeamSearch)
        self.all[request.request_id] = first.group
        self.scheduler.add(first)

    def step(self) -> list[SequenceOutput]:
        step = self.scheduler.schedule()
        assert step.sequences, "there is work, so there is a step"
        complete: list[Sequence] = []
        for sequence, num_new in zip(step.sequences, step.num_new_tokens, strict=True):
            sequence.num_computed_tokens += num_new
            self.kv.register_computed_blocks(sequence)
            if sequence.num_uncomputed_tokens == 0:
                complete.append(sequence)
        rows = [self.logits(tuple(s.token_ids.view().tolist())) for s in complete]
        logits = np.stack(rows) if rows else np.empty((0, 1), np.float32)
        found = self.searches.find_candidates(StepOutput(complete, logits_of(logits), []))
        outputs = self.searches.advance(found, self.scheduler)
        check_blocks(self.kv, self.searches.sequences)
        assert self.scheduler.has_work is bool(self.searches.request_ids)
        return outputs

    def run(self, *requests: EngineRequest) -> dict[int, BeamSearch]:
        for request in requests:
            self.add(request)
        while self.scheduler.has_work:
            self.step()
        assert self.kv.num_used_blocks == 0
        return self.all


def log_softmax(row: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    values = row.astype(np.float64)
    return values - np.log(np.exp(values).sum())


def all_answers(
    logits: Logits, prompt: list[int], vocab_size: int, length: int
) -> dict[Any, float]:
    """Every answer up to the length, with its log probability."""
    answers = {}
    for size in range(1, length + 1):
        for tokens in itertools.product(range(vocab_size), repeat=size):
            if END in tokens[:-1] or (size < length and tokens[-1] != END):
                continue
            score = 0.0
            for position, token in enumerate(tokens):
                score += log_softmax(logits((*prompt, *tokens[:position])))[token]
            answers[tokens] = score
    return answers


@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 1.0, 2.0])
def test_enough_beams_find_the_best_of_all_answers(length_penalty: float) -> None:
    vocab_size, length, num_beams = 4, 4, 100
    logits = random_logits(vocab_size)
    for seed in range(5):
        prompt = [seed + 1]
        fields: dict[str, Any] = {"length_penalty": length_penalty, "early_stopping": "never"}
        request = make_search(prompt, length, num_beams, n=3, **fields)
        (search,) = Bench(logits, budget=200).run(request).values()
        answers = all_answers(logits, prompt, vocab_size, length)
        best = sorted(answers, key=lambda a: -answers[a] / len(a) ** length_penalty)[:3]
        assert [tuple(h.token_ids) for h in search.hypotheses[:3]] == best
        scores = [answers[a] / len(a) ** length_penalty for a in best]
        assert [h.score for h in search.hypotheses[:3]] == pytest.approx(scores, rel=1e-4)
        reasons = ["stop" if a[-1] == END else "length" for a in best]
        assert [h.finish_reason for h in search.hypotheses[:3]] == reasons


def test_equal_answers_are_found_in_a_fixed_order() -> None:
    def logits(tokens: tuple[int, ...]) -> npt.NDArray[np.float32]:
        return np.array([-np.inf, 1, 1, 1, 1], np.float32)

    (search,) = Bench(logits).run(make_search([1], 2, 3)).values()
    assert [h.token_ids for h in search.hypotheses] == [[1, 1], [1, 2], [1, 3]]


def test_few_possible_tokens_make_few_beams_at_first() -> None:
    def logits(tokens: tuple[int, ...]) -> npt.NDArray[np.float32]:
        row = np.full(8, -np.inf, np.float32)
        row[1 if len(tokens) == 1 else slice(1, 8)] = 0.0
        return row

    bench = Bench(logits, budget=9)
    long, short = make_search([1], 3, 5), make_search([2], 3, 5)
    found = bench.run(long, short)
    for request in (long, short):
        answers = [h.token_ids for h in found[request.request_id].hypotheses]
        assert len(answers) == 5
        assert all(answer[0] == 1 for answer in answers)


def test_too_few_possible_answers_are_an_error() -> None:
    def logits(tokens: tuple[int, ...]) -> npt.NDArray[np.float32]:
        row = np.full(8, -np.inf, np.float32)
        row[[END, 1] if len(tokens) < 3 else END] = 0.0
        return row

    (search,) = Bench(logits).run(make_search([1], 9, 5, n=3, length_penalty=0.0)).values()
    assert search.failure is None
    assert [h.token_ids for h in search.hypotheses] == [[0], [1, 0], [1, 1, 0]]
    (search,) = Bench(logits).run(make_search([1], 9, 5, n=4)).values()
    assert search.failure == "the model gave only 3 of 4 answers a probability above 0"


def test_every_choice_gets_an_answer_or_an_error() -> None:
    bench = Bench(random_logits(8))
    request = make_search([1], 3, 4, n=2, logprobs=1)
    bench.add(request)
    outputs = [output for _ in range(3) for output in bench.step()]
    best = bench.all[request.request_id].hypotheses[:2]
    assert [(o.index, list(o.token_ids)) for o in outputs] == [
        (index, hypothesis.token_ids) for index, hypothesis in enumerate(best)
    ]
    assert [o.finish_reason for o in outputs] == [h.finish_reason for h in best]
    assert [len(o.logprobs or ()) for o in outputs] == [len(h.token_ids) for h in best]
    bench = Bench(lambda tokens: np.full(8, np.nan, np.float32))
    bench.add(request)
    outputs = bench.step()
    assert [(o.index, str(o.error)) for o in outputs] == [(0, BAD_LOGITS), (1, BAD_LOGITS)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_unusable_logits_of_one_beam_end_its_search_alone(bad: float) -> None:
    good = random_logits(8)

    def logits(tokens: tuple[int, ...]) -> npt.NDArray[np.float32]:
        row = good(tokens)
        if tokens[0] == 1 and len(tokens) == 4 and tokens[-1] % 2:
            row[:] = bad
        return row

    victim, other = make_search([1], 9, 4, min_tokens=9), make_search([2], 9, 4)
    found = Bench(logits).run(victim, other)
    assert found[victim.request_id].failure == BAD_LOGITS
    assert found[other.request_id].failure is None


def test_searches_that_come_and_go_get_the_same_answers_with_few_blocks() -> None:
    rng = np.random.default_rng(1)
    logits = random_logits(12)
    num_preemptions = num_aborted = 0
    for _ in range(25):
        requests = []
        for _ in range(int(rng.integers(3, 9))):
            num_beams = int(rng.integers(2, 6))
            prompt = rng.integers(1, 12, int(rng.integers(1, 14))).tolist()
            requests.append(make_search(prompt, int(rng.integers(4, 24)), num_beams))
        expected = {
            request.request_id: [h.token_ids for h in search.hypotheses]
            for request in requests
            for search in Bench(logits).run(request).values()
        }
        num_blocks = max(map(num_blocks_alone, requests))
        bench = Bench(logits, num_blocks, budget=int(rng.integers(8, 40)))
        aborted = {r.request_id for r in requests if rng.random() < 0.2}
        for request in requests:
            bench.add(request)
        while bench.scheduler.has_work:
            bench.step()
            for request_id in aborted & bench.searches.request_ids:
                if rng.random() < 0.05:
                    bench.searches.end(request_id, bench.scheduler, "abort")
                    num_aborted += 1
                    check_blocks(bench.kv, bench.searches.sequences)
        assert bench.kv.num_used_blocks == 0
        finished = {i: search for i, search in bench.all.items() if search.is_finished}
        assert finished.keys() | aborted == bench.all.keys()
        for request_id, search in finished.items():
            assert [h.token_ids for h in search.hypotheses] == expected[request_id]
        num_preemptions += bench.stats.preemptions
    assert num_preemptions > 20
    assert num_aborted > 3


def num_blocks_alone(request: EngineRequest) -> int:
    """The fewest blocks with which a search is accepted."""
    num_shared, num_own = divmod(len(request.prompt_token_ids), BLOCK_SIZE)
    num_own += request.max_tokens - 1
    return num_shared + request.params.num_beams * -(-num_own // BLOCK_SIZE)


def test_candidates_leave_the_logits_as_they_are() -> None:
    request = make_search([1, 2], 4, 3, repetition_penalty=2.0, logprobs=2, logit_bias={5: 1.0})
    sequence = Sequence(request)
    row = np.array([0.5, 3, 2, -np.inf, 1, 0], np.float32)
    logits = logits_of(row[None])
    (found,) = find_candidates(logits, [sequence])
    assert found is not None
    assert len(found.token_ids) == 3 + len(request.end_token_ids)
    assert np.array_equal(values_of(logits, 0), row)
    expected = log_softmax(row)
    assert found.logprobs == pytest.approx(expected[found.token_ids])
    shaped = expected * [1, 2, 2, 1, 1, 1] + [0, 0, 0, 0, 0, 1]
    best = np.argsort(-shaped, kind="stable")[: len(found.token_ids)]
    assert found.token_ids.tolist() == best.tolist()
    assert found.scores == pytest.approx(shaped[found.token_ids])
    assert [token for token, _ in found.top] == [1, 2]
    assert found.entry(0).token_id == found.token_ids[0]
