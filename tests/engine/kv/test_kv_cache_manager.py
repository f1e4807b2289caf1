"""KVCacheManager: block tables, prefix reuse, sharing."""

import random

import pytest
from support.engine_helpers import check_blocks, make_request, make_sequence

from server.engine.kv import block_pool
from server.engine.kv.kv_cache_manager import KVCacheManager
from server.engine.sequence import Sequence

SIZE = 4


def compute(kv: KVCacheManager, sequence: Sequence, num_new: int | None = None) -> None:
    """Compute the next tokens as a step does."""
    num_new = sequence.num_uncomputed_tokens if num_new is None else num_new
    assert kv.allocate(sequence, num_new)
    sequence.num_computed_tokens += num_new
    kv.register_computed_blocks(sequence)


def fork(kv: KVCacheManager, parent: Sequence, index: int) -> Sequence:
    child = Sequence(parent.request, index, parent.arrival)
    kv.fork(parent, child)
    return child


def table(sequence: Sequence) -> list[int]:
    return sequence.block_table.view().tolist()


def test_allocates_only_what_the_next_tokens_need() -> None:
    kv = KVCacheManager(4, SIZE, enable_prefix_caching=False)
    sequence = make_sequence(range(9))
    assert kv.num_blocks_missing(sequence, 4) == 1
    compute(kv, sequence, 4)
    assert sequence.block_table.size == 1
    compute(kv, sequence, 5)
    assert sequence.block_table.size == 3
    sequence.token_ids.append(1)
    assert kv.num_blocks_missing(sequence, 1) == 0
    check_blocks(kv, [sequence])


def test_a_refused_allocation_changes_nothing() -> None:
    kv = KVCacheManager(2, SIZE, enable_prefix_caching=False)
    sequence = make_sequence(range(9))
    compute(kv, sequence, 4)
    before = table(sequence)
    assert not kv.allocate(sequence, 5)
    assert table(sequence) == before
    assert kv.num_free_blocks == 1
    check_blocks(kv, [sequence])


def test_a_refused_allocation_with_a_shared_tail_changes_nothing() -> None:
    kv = KVCacheManager(2, SIZE, enable_prefix_caching=False)
    parent = make_sequence(range(5), n=2)
    compute(kv, parent)
    child = fork(kv, parent, 1)
    parent.token_ids.append(1)
    assert not kv.allocate(parent, 1)
    assert table(parent) == table(child)
    assert kv.take_pending_copies() == []
    check_blocks(kv, [parent, child])


def test_freeing_forgets_what_was_computed() -> None:
    kv = KVCacheManager(4, SIZE, enable_prefix_caching=True)
    sequence = make_sequence(range(9))
    compute(kv, sequence)
    kv.free(sequence)
    assert sequence.num_computed_tokens == 0
    assert kv.num_used_blocks == 0
    compute(kv, sequence)
    check_blocks(kv, [sequence])


def test_reuses_the_longest_known_prefix() -> None:
    kv = KVCacheManager(8, SIZE, enable_prefix_caching=True)
    first = make_sequence(range(12))
    compute(kv, first)
    second = make_sequence([*range(8), 99, 98, 97, 96, 95])
    assert kv.attach_cached_prefix(second) == 8
    assert table(second) == table(first)[:2]
    compute(kv, second)
    check_blocks(kv, [first, second])
    third = make_sequence([99, 98, 97, 96, 95])
    assert kv.attach_cached_prefix(third) == 0, "these tokens are known after another prefix only"


def test_leaves_one_token_to_compute() -> None:
    kv = KVCacheManager(8, SIZE, enable_prefix_caching=True)
    first = make_sequence(range(8))
    compute(kv, first)
    same = make_sequence(range(8))
    assert kv.attach_cached_prefix(same) == 4
    longer = make_sequence(range(9))
    assert kv.attach_cached_prefix(longer) == 8


def test_generated_tokens_are_reused_too() -> None:
    kv = KVCacheManager(8, SIZE, enable_prefix_caching=True)
    first = make_sequence(range(6))
    compute(kv, first)
    for token in (6, 7, 8):
        first.token_ids.append(token)
        compute(kv, first)
    kv.free(first)
    assert kv.attach_cached_prefix(make_sequence(range(10))) == 8


def test_without_prefix_caching_nothing_is_reused() -> None:
    kv = KVCacheManager(8, SIZE, enable_prefix_caching=False)
    compute(kv, make_sequence(range(8)))
    assert kv.attach_cached_prefix(make_sequence(range(9))) == 0
    assert kv.pool.num_cached == 0


def test_only_computed_blocks_are_found() -> None:
    kv = KVCacheManager(8, SIZE, enable_prefix_caching=True)
    first = make_sequence(range(12))
    compute(kv, first, 6)
    assert kv.attach_cached_prefix(make_sequence(range(12))) == 4


def test_the_tail_of_a_freed_sequence_is_reused_before_its_head() -> None:
    kv = KVCacheManager(3, SIZE, enable_prefix_caching=True)
    first = make_sequence(range(12))
    compute(kv, first)
    kv.free(first)
    other = make_sequence([50, 51, 52, 53])
    compute(kv, other)
    assert kv.attach_cached_prefix(make_sequence(range(13))) == 8


def test_a_prefix_that_two_sequences_computed_is_found_after_the_first_was_discarded() -> None:
    kv = KVCacheManager(7, SIZE, enable_prefix_caching=True)
    first, second = make_sequence(range(12)), make_sequence(range(12))
    for sequence in (first, second):
        compute(kv, sequence)
    kv.forget_blocks(table(first))
    kv.free(first)
    found = make_sequence(range(13))
    assert kv.attach_cached_prefix(found) == 12
    assert table(found) == table(second)


@pytest.fixture
def copies_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_pool, "LEAST_COMMON", 1)


def end(kv: KVCacheManager, sequence: Sequence) -> None:
    """End a sequence as the scheduler does."""
    kv.keep_tail(sequence)
    kv.free(sequence)


@pytest.mark.usefixtures("copies_of_any_length")
def test_on_a_partial_hit_the_block_is_copied() -> None:
    kv = KVCacheManager(8, SIZE, enable_prefix_caching=True)
    first = make_sequence(range(8))
    compute(kv, first)
    second = make_sequence([0, 1, 2, 3, 4, 5, 99, 98, 97])
    assert kv.attach_cached_prefix(second) == 6
    assert table(second)[0] == table(first)[0]
    assert kv.take_pending_copies() == [(table(first)[1], table(second)[1])]
    assert kv.num_blocks_missing(second, 3) == 1
    compute(kv, second)
    check_blocks(kv, [first, second])
    assert kv.attach_cached_prefix(make_sequence([0, 1, 2, 3, 4, 5, 99, 98, 1])) == 8


@pytest.mark.usefixtures("copies_of_any_length")
def test_a_conversation_goes_on_in_the_middle_of_a_block() -> None:
    kv = KVCacheManager(8, SIZE, enable_prefix_caching=True)
    first = make_sequence(range(6))
    compute(kv, first)
    end(kv, first)
    assert kv.num_used_blocks == 0
    longer = make_sequence(range(9))
    assert kv.attach_cached_prefix(longer) == 6
    same = make_sequence(range(6))
    assert kv.attach_cached_prefix(same) == 5, "one token stays to be computed"
    assert len(kv.take_pending_copies()) == 2
    check_blocks(kv, [longer, same])


def test_a_few_tokens_are_not_worth_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    for least, found in ((2, 6), (3, 4)):
        monkeypatch.setattr(block_pool, "LEAST_COMMON", least)
        kv = KVCacheManager(8, SIZE, enable_prefix_caching=True)
        compute(kv, make_sequence(range(8)))
        sequence = make_sequence([0, 1, 2, 3, 4, 5, 99, 98, 97])
        assert kv.attach_cached_prefix(sequence) == found


@pytest.mark.usefixtures("copies_of_any_length")
@pytest.mark.parametrize("kind", ["off", "salt", "other", "no block", "prompt logprobs"])
def test_nothing_is_copied(kind: str) -> None:
    kv = KVCacheManager(4, SIZE, enable_prefix_caching=kind != "off")
    first = make_sequence(range(3), cache_salt=b"x" if kind == "salt" else b"")
    compute(kv, first)
    table_of_first = table(first)
    end(kv, first)
    if kind == "no block":
        kv.pool.allocate(3)
        kv.pool.acquire(table_of_first[0])
    fields = {"prompt_logprobs": 0} if kind == "prompt logprobs" else {}
    sequence = make_sequence([9, 1, 2, 3] if kind == "other" else range(4), **fields)
    assert kv.attach_cached_prefix(sequence) == 0
    assert kv.take_pending_copies() == []


@pytest.mark.usefixtures("copies_of_any_length")
def test_the_last_free_block_may_be_the_copy_source_itself() -> None:
    kv = KVCacheManager(1, SIZE, enable_prefix_caching=True)
    first = make_sequence(range(3))
    compute(kv, first)
    end(kv, first)
    sequence = make_sequence(range(4))
    assert kv.attach_cached_prefix(sequence) == 3
    assert kv.take_pending_copies() == [], "it goes on in place"
    check_blocks(kv, [sequence])


@pytest.mark.usefixtures("copies_of_any_length")
def test_a_block_whose_copy_is_pending_is_no_copy_source() -> None:
    kv = KVCacheManager(8, SIZE, enable_prefix_caching=True)
    first = make_sequence(range(3))
    compute(kv, first)
    (source_block,) = table(first)
    end(kv, first)
    second = make_sequence(range(4))
    assert kv.attach_cached_prefix(second) == 3
    end(kv, second)
    third = make_sequence(range(4))
    assert kv.attach_cached_prefix(third) == 3
    assert [source for source, _ in kv.take_pending_copies()] == [source_block] * 2


def test_a_fork_shares_all_blocks_and_copies_a_partial_tail_when_it_writes() -> None:
    kv = KVCacheManager(8, SIZE, enable_prefix_caching=False)
    parent = make_sequence(range(6), n=3)
    compute(kv, parent)
    children = [fork(kv, parent, index) for index in (1, 2)]
    assert kv.num_used_blocks == 2
    head, tail = table(parent)
    family = [parent, *children]
    for token, sequence in enumerate(family):
        sequence.token_ids.append(token)
        compute(kv, sequence)
    copies = kv.take_pending_copies()
    assert [source for source, _ in copies] == [tail, tail]
    assert [destination for _, destination in copies] == [s.block_table[1] for s in family[:2]]
    assert table(children[1]) == [head, tail], "the last one may write in place"
    assert kv.take_pending_copies() == []
    check_blocks(kv, family)


def test_a_fork_at_a_full_block_copies_nothing() -> None:
    kv = KVCacheManager(8, SIZE, enable_prefix_caching=True)
    parent = make_sequence(range(8), n=2)
    compute(kv, parent)
    child = fork(kv, parent, 1)
    for token, sequence in enumerate((parent, child)):
        sequence.token_ids.append(token)
        compute(kv, sequence)
    assert kv.take_pending_copies() == []
    assert table(parent)[:2] == table(child)[:2]
    assert table(parent)[2] != table(child)[2]
    check_blocks(kv, [parent, child])


def test_a_block_that_is_reserved_for_the_next_tokens_is_not_shared() -> None:
    kv = KVCacheManager(8, SIZE, enable_prefix_caching=False)
    parent = make_sequence(range(2 * SIZE))
    compute(kv, parent)
    assert kv.allocate(parent, 1)
    child = fork(kv, parent, 1)
    assert table(child) == table(parent)[:2]
    for sequence in (parent, child):
        sequence.token_ids.append(7)
        compute(kv, sequence)
    assert table(child)[2] != table(parent)[2]
    check_blocks(kv, [parent, child])


def test_forks_register_their_own_continuations() -> None:
    kv = KVCacheManager(8, SIZE, enable_prefix_caching=True)
    parent = make_sequence(range(6), n=2)
    compute(kv, parent)
    child = fork(kv, parent, 1)
    for base, sequence in ((100, parent), (200, child)):
        for token in range(base, base + 3):
            sequence.token_ids.append(token)
            compute(kv, sequence)
    for base, sequence in ((100, parent), (200, child)):
        again = make_sequence([*range(6), base, base + 1, 1])
        assert kv.attach_cached_prefix(again) == 8
        assert table(again) == table(sequence)[:2]


def test_after_contents_were_lost_no_old_prefix_is_found() -> None:
    kv = KVCacheManager(8, SIZE, enable_prefix_caching=True)
    survivor = make_sequence(range(6))
    compute(kv, survivor)
    kv.forget_prefixes()
    for token in (6, 7, 8):
        survivor.token_ids.append(token)
        compute(kv, survivor)
    assert kv.attach_cached_prefix(make_sequence(range(9))) == 0
    kv.free(survivor)
    fresh = make_sequence(range(9))
    compute(kv, fresh)
    again = make_sequence(range(9))
    assert kv.attach_cached_prefix(again) == 8
    assert table(again) == table(fresh)[:2]
    check_blocks(kv, [fresh, again])


@pytest.mark.usefixtures("copies_of_any_length")
@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_random_walk_leaks_nothing_and_shares_only_equal_tokens(seed: int, caching: bool) -> None:
    rng = random.Random(seed)
    kv = KVCacheManager(24, SIZE, caching)
    live: list[Sequence] = []
    contents: dict[int, tuple[int, ...]] = {}
    """What each block holds: all tokens up to the last one written into it."""
    for _ in range(1500):
        action = rng.random()
        if action < 0.15 and len(live) < 10:
            live.append(Sequence(make_request(rng.choices(range(2), k=rng.randint(1, 20)))))
        elif action < 0.3 and live:
            end(kv, live.pop(rng.randrange(len(live))))
        elif action < 0.4 and live:
            parent = rng.choice(live)
            if parent.num_computed_tokens == parent.num_tokens:
                child = fork(kv, parent, 1)
                for token in parent.token_ids.view(child.num_tokens):
                    child.token_ids.append(int(token))
                live.append(child)
        elif action < 0.43 and live:
            end(kv, rng.choice(live))
        elif action < 0.44:
            kv.forget_prefixes()
        elif live:
            _advance(kv, rng.choice(live), rng, contents)
        check_blocks(kv, live)
    for sequence in live:
        kv.free(sequence)
    assert kv.num_used_blocks == 0


def _advance(
    kv: KVCacheManager,
    sequence: Sequence,
    rng: random.Random,
    contents: dict[int, tuple[int, ...]],
) -> None:
    if sequence.block_table.size == 0:
        kv.attach_cached_prefix(sequence)
    if sequence.num_uncomputed_tokens == 0:
        sequence.token_ids.append(rng.randrange(2))
    num_new = rng.randint(1, sequence.num_uncomputed_tokens)
    if not kv.allocate(sequence, num_new):
        return
    for source, destination in kv.take_pending_copies():
        contents[destination] = contents[source]
    tokens = tuple(sequence.token_ids.view().tolist())
    for position in range(sequence.num_computed_tokens, sequence.num_computed_tokens + num_new):
        block = sequence.block_table[position // SIZE]
        assert kv.pool.ref_count(block) == 1, "writes into a block that others read"
        contents[block] = tokens[: position + 1]
    sequence.num_computed_tokens += num_new
    kv.register_computed_blocks(sequence)
    for position, block in enumerate(table(sequence)):
        end = min((position + 1) * SIZE, sequence.num_computed_tokens)
        assert contents[block][:end] == tokens[:end], "reads what was not computed from its tokens"


def test_prefixes_are_shared_only_within_a_salt() -> None:
    kv = KVCacheManager(64, SIZE, enable_prefix_caching=True)
    salts = [b"", b"a", b"b", b"ab", b"\0" * 8]
    for salt in salts:
        first = make_sequence(range(13), cache_salt=salt)
        assert kv.attach_cached_prefix(first) == 0
        compute(kv, first)
        kv.free(first)
    for salt in salts:
        again = make_sequence(range(13), cache_salt=salt)
        assert kv.attach_cached_prefix(again) == 12
        kv.free(again)


def test_a_salt_is_not_confused_with_tokens() -> None:
    kv = KVCacheManager(64, SIZE, enable_prefix_caching=True)
    tokens = make_sequence([7, *range(12)])
    compute(kv, tokens)
    salted = make_sequence(range(12), cache_salt=tokens.token_ids.view(0, 1).tobytes())
    assert kv.attach_cached_prefix(salted) == 0
