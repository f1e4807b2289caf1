"""WaitingQueue: keeps its order while prefixes are cached, and looks up only what changed."""

import pytest
from support.engine_helpers import make_sequence

from server.engine.kv.kv_cache_manager import KVCacheManager
from server.engine.scheduling.patience import Patience
from server.engine.scheduling.step_costs import StepCosts
from server.engine.scheduling.waiting_queue import MAX_UPDATES, WaitingQueue
from server.engine.sequence import Sequence

SIZE = 4


@pytest.fixture
def kv() -> KVCacheManager:
    return KVCacheManager(32, SIZE, enable_prefix_caching=True)


def order(queue: WaitingQueue) -> list[Sequence]:
    found = []
    while (waiter := queue.first()) is not None:
        queue.hold_back(waiter.sequence)
        found.append(waiter.sequence)
    for sequence in found:
        queue.put_back(sequence)
    return found


def compute(kv: KVCacheManager, sequence: Sequence, num_new: int) -> None:
    assert kv.allocate(sequence, num_new)
    sequence.num_computed_tokens += num_new
    kv.register_computed_blocks(sequence)


def test_a_prompt_moves_ahead_as_its_prefix_is_cached(kv: KVCacheManager) -> None:
    queue = WaitingQueue(kv, Patience(StepCosts(), 256))
    plain, alike = make_sequence(range(50, 56)), make_sequence(range(12))
    for sequence in (plain, alike):
        sequence.request.arrived_s = 0.0
        queue.add(sequence)
    reader = make_sequence(range(8))
    compute(kv, reader, SIZE)
    queue.refresh()
    assert order(queue) == [plain, alike], "8 tokens are left"
    compute(kv, reader, SIZE)
    queue.refresh()
    assert order(queue) == [alike, plain]


def test_only_prompts_whose_next_block_was_cached_are_looked_up_again(
    kv: KVCacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = WaitingQueue(kv, Patience(StepCosts(), 256))
    for start in range(20):
        queue.add(make_sequence(range(start, start + 12)))
    lookups: list[int] = []
    lookup = kv.pool.lookup
    monkeypatch.setattr(kv.pool, "lookup", lambda *key: lookups.append(1) or lookup(*key))
    queue.refresh()
    assert not lookups
    compute(kv, make_sequence(range(7, 12)), SIZE)
    queue.refresh()
    assert len(lookups) == 2, "the block that is cached, and the one after it"


def test_a_sequence_that_is_held_back_has_no_place(kv: KVCacheManager) -> None:
    queue = WaitingQueue(kv, Patience(StepCosts(), 256))
    first, second = make_sequence(range(5)), make_sequence(range(20, 26))
    for sequence in (first, second):
        sequence.request.arrived_s = 0.0
        queue.add(sequence)
    queue.hold_back(first)
    assert order(queue) == [second]
    assert len(queue) == 2
    queue.put_back(first)
    assert order(queue) == [first, second]
    queue.hold_back(second)
    queue.remove(second)
    queue.remove(first)
    assert (order(queue), len(queue)) == ([], 0)


def test_of_many_that_wait_for_a_prefix_some_are_looked_up_at_once_and_the_first_always(
    kv: KVCacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = WaitingQueue(kv, Patience(StepCosts(), 256))
    num_tokens = [20 + number % 7 for number in range(5 * MAX_UPDATES)]
    waiting = [make_sequence(range(num)) for num in num_tokens]
    for sequence in waiting:
        sequence.request.arrived_s = 0.0
        queue.add(sequence)
    waiting.append(make_sequence(range(19), priority=-1))
    waiting[-1].request.arrived_s = 0.0
    queue.add(waiting[-1])
    lookups: list[Sequence] = []
    extend = kv.extend_cached_prefix
    monkeypatch.setattr(
        kv, "extend_cached_prefix", lambda s, cached: lookups.append(s) or extend(s, cached)
    )
    compute(kv, make_sequence(range(16)), 16)
    queue.refresh()
    assert len(lookups) == MAX_UPDATES + 1
    first = queue.first()
    assert first is not None
    assert first.sequence is waiting[-1]
    assert queue.num_cached_tokens(first) == 16
    for _ in range(6):
        queue.refresh()
    assert len(lookups) == len(waiting)
    assert set(lookups) == set(waiting)
    lengths = [sequence.num_tokens for sequence in order(queue)[1:]]
    assert lengths == sorted(lengths)
