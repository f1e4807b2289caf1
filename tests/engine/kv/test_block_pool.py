"""BlockPool alone: order of reuse, counts, prefixes."""

import random

import numpy as np
import pytest

from server.engine.kv.block_pool import BlockContent, BlockPool
from server.engine.sequence import ROOT_PREFIX


def of(tokens: bytes, salt: bytes = b"") -> BlockContent:
    return BlockContent(salt, tokens)


def release_all(pool: BlockPool, blocks: list[int]) -> None:
    for block in blocks:
        pool.release(block)


def test_allocates_each_block_once() -> None:
    pool = BlockPool(5)
    blocks = pool.allocate(2) + pool.allocate(3)
    assert sorted(blocks) == [0, 1, 2, 3, 4]
    assert pool.num_free == 0
    assert all(pool.ref_count(block) == 1 for block in blocks)


def test_refuses_to_allocate_more_than_is_free() -> None:
    with pytest.raises(AssertionError):
        BlockPool(2).allocate(3)


def test_refuses_to_release_twice() -> None:
    pool = BlockPool(2)
    (block,) = pool.allocate(1)
    pool.release(block)
    with pytest.raises(AssertionError):
        pool.release(block)


def test_a_block_is_free_after_its_last_user() -> None:
    pool = BlockPool(2)
    (block,) = pool.allocate(1)
    pool.acquire(block)
    pool.release(block)
    assert pool.num_free == 1
    pool.release(block)
    assert pool.num_free == 2


def test_finds_a_registered_block_in_use_and_after() -> None:
    pool = BlockPool(2)
    (block,) = pool.allocate(1)
    identity = pool.register(block, ROOT_PREFIX, of(b"a"))
    assert pool.lookup(ROOT_PREFIX, of(b"a")) == (block, identity)
    pool.release(block)
    assert pool.lookup(ROOT_PREFIX, of(b"a")) == (block, identity)
    assert pool.num_free == 2


def test_same_tokens_after_different_prefixes_are_different() -> None:
    pool = BlockPool(4)
    first, second, third, fourth = pool.allocate(4)
    one = pool.register(first, ROOT_PREFIX, of(b"one"))
    two = pool.register(second, ROOT_PREFIX, of(b"two"))
    assert one != two
    pool.register(third, one, of(b"same"))
    assert pool.lookup(two, of(b"same")) is None
    assert pool.lookup(ROOT_PREFIX, of(b"same")) is None
    pool.register(fourth, two, of(b"same"))
    assert pool.lookup(one, of(b"same"))[0] == third
    assert pool.lookup(two, of(b"same"))[0] == fourth


def test_a_later_prefix_never_gets_the_identity_of_a_forgotten_one() -> None:
    pool = BlockPool(2)
    parent, child = pool.allocate(2)
    old = pool.register(parent, ROOT_PREFIX, of(b"parent"))
    pool.register(child, old, of(b"child"))
    pool.forget_all()
    new = pool.register(parent, ROOT_PREFIX, of(b"another"))
    assert new != old
    assert pool.lookup(new, of(b"child")) is None


def test_a_content_in_two_blocks_is_found_in_the_first_and_the_spare_is_reused_first() -> None:
    pool = BlockPool(3)
    first, second, other = pool.allocate(3)
    pool.register(other, ROOT_PREFIX, of(b"b"))
    identity = pool.register(first, ROOT_PREFIX, of(b"a"))
    assert pool.register(second, ROOT_PREFIX, of(b"a")) == identity
    assert pool.lookup(ROOT_PREFIX, of(b"a")) == (first, identity)
    assert pool.num_cached == 2
    release_all(pool, [other, first, second])
    assert pool.allocate(2) == [second, other]
    assert pool.lookup(ROOT_PREFIX, of(b"a")) == (first, identity)


@pytest.mark.parametrize("is_evicted", [True, False])
@pytest.mark.parametrize("is_spare_used", [True, False])
def test_a_content_stays_findable_as_long_as_a_block_holds_it(
    is_evicted: bool, is_spare_used: bool
) -> None:
    pool = BlockPool(3)
    first, second, other = pool.allocate(3)
    identity = pool.register(first, ROOT_PREFIX, of(b"a"))
    for block in (second, other):
        pool.register(block, ROOT_PREFIX, of(b"a"))
    pool.forget([other])
    if not is_spare_used:
        pool.release(second)
    if is_evicted and is_spare_used:
        pool.release(first)
        assert pool.allocate(1) == [first]
    else:
        pool.forget([first])
    assert pool.lookup(ROOT_PREFIX, of(b"a")) == (second, identity)
    child = pool.register(other, identity, of(b"child"))
    assert pool.lookup(identity, of(b"child")) == (other, child)
    pool.forget([second])
    assert pool.lookup(ROOT_PREFIX, of(b"a")) is None


def test_a_free_spare_that_becomes_the_only_holder_is_kept_like_others() -> None:
    pool = BlockPool(3)
    first, spare, other = pool.allocate(3)
    for block, content in ((first, b"a"), (spare, b"a"), (other, b"b")):
        pool.register(block, ROOT_PREFIX, of(content))
    release_all(pool, [other, spare])
    pool.forget([first])
    assert pool.allocate(2) == [other, spare]


def test_least_recently_used_goes_first() -> None:
    pool = BlockPool(3)
    blocks = pool.allocate(3)
    for block in blocks:
        pool.register(block, ROOT_PREFIX, of(bytes([block])))
    first, second, third = blocks
    release_all(pool, [second, first, third])
    pool.acquire(second)
    pool.release(second)
    assert pool.allocate(3) == [first, third, second]
    assert pool.num_cached == 0


def test_blocks_without_content_go_before_cached_ones() -> None:
    pool = BlockPool(3)
    cached, plain, _ = pool.allocate(3)
    pool.register(cached, ROOT_PREFIX, of(b"a"))
    release_all(pool, [cached, plain])
    assert pool.allocate(1) == [plain]
    assert pool.lookup(ROOT_PREFIX, of(b"a")) is not None


def test_a_reused_block_is_no_longer_found() -> None:
    pool = BlockPool(1)
    (block,) = pool.allocate(1)
    pool.register(block, ROOT_PREFIX, of(b"a"))
    pool.release(block)
    pool.allocate(1)
    assert pool.lookup(ROOT_PREFIX, of(b"a")) is None
    assert pool.num_cached == 0


def tokens_of(*token_ids: int, salt: bytes = b"") -> BlockContent:
    return of(np.array(token_ids, np.int64).tobytes(), salt)


def test_a_block_is_found_by_its_first_tokens() -> None:
    pool = BlockPool(5)
    first, second, salted, tail, short = pool.allocate(5)
    identity = pool.register(first, ROOT_PREFIX, tokens_of(1, 2, 3, 4, 5, 6))
    asked = tokens_of(1, 2, 3, 4, 5, 9)
    assert pool.find_alike(ROOT_PREFIX, asked) == (first, 5)
    pool.register(second, ROOT_PREFIX, tokens_of(1, 2, 3, 4, 8, 8))
    pool.register(salted, ROOT_PREFIX, tokens_of(1, 2, 3, 4, 5, 9, salt=b"salt"))
    assert pool.find_alike(ROOT_PREFIX, asked) == (second, 4), "the latest"
    pool.note_beginning(tail, identity, tokens_of(1, 2, 3, 4, 5))
    assert pool.find_alike(identity, asked) == (tail, 5)
    assert pool.lookup(identity, tokens_of(1, 2, 3, 4, 5)) is None, "it is not full"
    pool.note_beginning(tail, identity, tokens_of(1, 2, 3, 4, 5, 9, 9))
    assert pool.find_alike(identity, asked) == (tail, 6)
    pool.note_beginning(short, identity, tokens_of(7, 7, 7))
    assert pool.find_alike(identity, tokens_of(7, 7, 7)) is None, "too little for a copy"
    assert pool.find_alike(ROOT_PREFIX, tokens_of(1, 2, 3, 9, 9, 9)) is None
    pool.forget_all()
    assert pool.find_alike(ROOT_PREFIX, asked) is None


def test_a_block_that_is_found_only_by_its_first_tokens_is_kept_like_cached_ones() -> None:
    pool = BlockPool(3)
    former, tail, plain = pool.allocate(3)
    pool.note_beginning(former, ROOT_PREFIX, tokens_of(1, 2, 3, 4))
    pool.note_beginning(tail, ROOT_PREFIX, tokens_of(1, 2, 3, 4))
    release_all(pool, [tail, former, plain])
    assert pool.allocate(1) == [plain]
    assert pool.allocate(1) == [former], "it was replaced before it was released"
    assert pool.find_alike(ROOT_PREFIX, tokens_of(1, 2, 3, 4)) == (tail, 4)
    assert pool.allocate(1) == [tail]
    assert pool.find_alike(ROOT_PREFIX, tokens_of(1, 2, 3, 4)) is None


def test_forget_all_leaves_counts_alone() -> None:
    pool = BlockPool(3)
    used, cached = pool.allocate(2)
    pool.register(used, ROOT_PREFIX, of(b"a"))
    pool.register(cached, ROOT_PREFIX, of(b"b"))
    pool.release(cached)
    pool.forget_all()
    assert pool.num_cached == 0
    assert pool.ref_count(used) == 1
    assert pool.num_free == 2
    pool.release(used)
    assert sorted(pool.allocate(3)) == [0, 1, 2]


class Model:
    """What a pool should do, in the simplest way: all blocks that hold a content, in order."""

    def __init__(self) -> None:
        self.holders: dict[tuple[int, BlockContent], list[int]] = {}

    def forget(self, blocks: list[int]) -> None:
        kept = {k: [b for b in held if b not in blocks] for k, held in self.holders.items()}
        self.holders = {key: held for key, held in kept.items() if held}

    def holds(self, block: int) -> bool:
        return any(block in held for held in self.holders.values())


@pytest.mark.parametrize("seed", range(6))
def test_random_operations_agree_with_a_simple_model(seed: int) -> None:
    rng = random.Random(seed)
    pool, model = BlockPool(12), Model()
    held: list[int] = []
    prefixes = [ROOT_PREFIX]
    common = tokens_of(1, 2, 3, 4)

    def allocate() -> None:
        new = pool.allocate(rng.randint(0, min(4, pool.num_free)))
        assert not set(new) & set(held)
        held.extend(new)
        model.forget(new)

    def release() -> None:
        if held:
            pool.release(held.pop(rng.randrange(len(held))))

    def register() -> None:
        free_of_content = [block for block in held if not model.holds(block)]
        if free_of_content:
            block, key = rng.choice(free_of_content), random_key()
            identity = pool.register(block, *key)
            assert (key in model.holders) == (identity in prefixes)
            model.holders.setdefault(key, []).append(block)
            if identity not in prefixes:
                prefixes.append(identity)

    def acquire() -> None:
        found = pool.lookup(*random_key())
        if found is not None:
            pool.acquire(found[0])
            held.append(found[0])

    def forget() -> None:
        blocks = rng.sample(range(12), rng.choice([0, 0, 0, 1, 2]))
        pool.forget(blocks)
        model.forget(blocks)

    def note_beginning() -> None:
        if rng.random() < 0.02:
            pool.forget_all()
            model.holders.clear()
        elif held:
            pool.note_beginning(rng.choice(held), rng.choice(prefixes[-6:]), common)

    def random_key() -> tuple[int, BlockContent]:
        return rng.choice(prefixes[-6:]), of(bytes([rng.randrange(4)]))

    for _ in range(4000):
        rng.choice([allocate, release, register, acquire, forget, note_beginning])()
        alike = [found for prefix in prefixes if (found := pool.find_alike(prefix, common))]
        assert len({block for block, _ in alike}) == len(alike) <= 12
        assert sum(map(pool.ref_count, range(12))) == len(held)
        assert pool.num_free == 12 - len(set(held))
        assert pool.num_cached == len(model.holders)
        assert all(pool.lookup(*key)[0] == blocks[0] for key, blocks in model.holders.items())
    release_all(pool, held)
    assert sorted(pool.allocate(12)) == list(range(12))


def test_forgotten_blocks_are_not_found_and_are_reused_first() -> None:
    pool = BlockPool(4)
    used, freed, other, _ = pool.allocate(4)
    identity = pool.register(used, ROOT_PREFIX, of(b"first".ljust(64)))
    pool.register(freed, identity, of(b"second".ljust(64)))
    pool.register(other, ROOT_PREFIX, of(b"other".ljust(64)))
    release_all(pool, [other, freed])
    pool.forget([used, freed])
    assert pool.lookup(ROOT_PREFIX, of(b"first".ljust(64))) is None
    assert pool.find_alike(ROOT_PREFIX, of(b"first".ljust(64))) is None
    assert pool.lookup(identity, of(b"second".ljust(64))) is None
    assert pool.lookup(ROOT_PREFIX, of(b"other".ljust(64))) is not None
    assert pool.ref_count(used) == 1
    assert pool.allocate(1) == [freed]
