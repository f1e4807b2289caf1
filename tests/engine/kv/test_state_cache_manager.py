"""StateCacheManager: where states are read, written and kept, beside the block tables."""

import random
from itertools import pairwise

import numpy as np
import pytest
from support.engine_helpers import check_blocks, make_request, make_sequence

from server.engine.kv.kv_cache_manager import CachedPrefix
from server.engine.kv.state_cache_manager import StateCacheManager, StateLayout
from server.engine.model.state_inputs import StatePacker
from server.engine.sequence import Sequence

SIZE = 4
INTERVAL = 8

Tokens = tuple[int, ...]


class States:
    """A manager, and the tokens that the state in each block has seen."""

    def __init__(self, num_spare: int = 8, max_num_seqs: int = 6, caching: bool = True) -> None:
        layout = StateLayout(2 * max_num_seqs + num_spare, max_num_seqs, INTERVAL, SIZE * caching)
        self.kv = StateCacheManager(500, SIZE, caching, layout)
        self.layout = layout
        self._packer = StatePacker(layout)
        self._tokens: dict[int, Tokens | None] = {layout.zero_block: ()}

    def start(self, tokens: list[int]) -> Sequence:
        """A sequence with what is cached of it."""
        sequence = Sequence(make_request(tokens))
        self.kv.attach_cached_prefix(sequence)
        return sequence

    def step(self, *parts: tuple[Sequence, int]) -> None:
        """Compute the next tokens of some sequences, as PagedCausalConv1D does."""
        sequences = [sequence for sequence, _ in parts]
        num_new = np.array([num for _, num in parts], np.int32)
        for sequence, num in parts:
            assert self.kv.allocate(sequence, num)
        past = np.array([s.num_computed_tokens for s in sequences], np.int32)
        tables = self._tables(sequences, num_new, past)
        self._check_conflicts(tables)
        for (sequence, num), table in zip(parts, tables, strict=True):
            self._compute(sequence, num, table)
        for sequence, num in parts:
            sequence.num_computed_tokens += num
            self.kv.register_computed_blocks(sequence)

    def _tables(self, sequences: list[Sequence], num_new: object, past: object) -> list[list[int]]:
        arrays = self._packer.pack(sequences, num_new, past)  # type: ignore[arg-type]
        begins = arrays["la.block_indices_begins"].tolist()
        blocks = arrays["la.block_indices"].tolist()
        return [blocks[b:e] for b, e in pairwise(begins)]

    def _check_conflicts(self, tables: list[list[int]]) -> None:
        """The sequences of a step are computed in any order."""
        written: set[int] = set()
        for number, table in enumerate(tables):
            others = [other for place, other in enumerate(tables) if place != number]
            mine = set(table[1:]) - {self.layout.spare_block}
            assert self.layout.zero_block not in mine
            assert not mine & written
            assert not mine & {other[0] for other in others}
            written |= mine

    def _compute(self, sequence: Sequence, num_new: int, table: list[int]) -> None:
        past = sequence.num_computed_tokens
        tokens = tuple(sequence.token_ids.view().tolist())
        assert self._tokens[table[0]] == tokens[:past], "the state of other tokens was read"
        interval = self.layout.least_interval
        for end in range(past + 1, past + num_new + 1):
            seen = end - past + (past % interval if interval else 0)
            slot = 1 + (seen - 1) // interval if interval else 1
            if end == past + num_new or (interval and end % interval == 0):
                self._tokens[table[slot]] = tokens[:end]
        self._tokens[self.layout.spare_block] = None


def check(states: States, sequences: list[Sequence]) -> None:
    """Every block is used by whom the reference counts say."""
    pool = states.kv.states
    uses = [0] * pool.num_blocks
    for sequence in sequences:
        for block in sequence.states.blocks if sequence.states else ():
            if block != states.layout.zero_block:
                uses[block] += 1
    assert [pool.ref_count(block) for block in range(pool.num_blocks)] == uses
    check_blocks(states.kv, sequences)


def computed(states: States, tokens: list[int]) -> Sequence:
    sequence = states.start(tokens)
    states.step((sequence, sequence.num_uncomputed_tokens))
    return sequence


def test_a_prefix_is_found_up_to_the_last_checkpoint() -> None:
    states = States()
    first = computed(states, list(range(30)))
    # KV of 20 tokens is cached; states are kept after 8, 16, 24, and 28, the prompt's last block.
    assert states.start([*range(20), 99, 98]).num_computed_tokens == 16
    assert states.start(list(range(30))).num_computed_tokens == 28
    assert states.start([*range(7), 99, 98]).num_computed_tokens == 0
    assert first.states is not None
    assert first.states.checkpoints == {}


def test_a_state_is_kept_where_prompts_part() -> None:
    """A short beginning that many prompts share is before all other checkpoints."""
    states = States()
    computed(states, [*range(6), *range(100, 130)])
    second = computed(states, [*range(6), *range(200, 230)])
    assert second.states is not None
    assert second.states.num_known_tokens == 4
    assert states.start([*range(6), *range(300, 330)]).num_computed_tokens == 4


def test_what_is_known_of_a_waiting_prompt_ends_at_a_checkpoint() -> None:
    states = States()
    computed(states, list(range(30)))
    cached, _ = states.kv.extend_cached_prefix(make_sequence([*range(20), 99, 98]), CachedPrefix())
    assert (cached.num_blocks, cached.num_usable_blocks) == (5, 4)


def test_states_of_answers_are_kept_too() -> None:
    states = States()
    sequence = computed(states, list(range(5)))
    for token in range(5, 18):
        sequence.token_ids.append(token)
        states.step((sequence, 1))
    states.kv.free(sequence)
    assert states.start(list(range(18))).num_computed_tokens == 16


def test_a_step_writes_where_it_reads_unless_others_need_that() -> None:
    states = States()
    parent = computed(states, list(range(6)))
    assert parent.states is not None
    own = parent.states.current
    parent.token_ids.append(6)
    states.step((parent, 1))
    assert parent.states.current == own
    child = Sequence(parent.request, 1, parent.arrival)
    states.kv.fork(parent, child)
    child.token_ids.append(6)
    for sequence, token in ((parent, 50), (child, 60)):
        sequence.token_ids.append(token)
    states.step((parent, 1), (child, 1))
    assert own not in (parent.states.current, child.states.current if child.states else own)
    check(states, [parent, child])


def test_a_block_reserved_before_a_fork_is_not_shared_after_it() -> None:
    states = States()
    parent = computed(states, list(range(6)))
    # As when the next step was looked ahead to: it would write where it reads.
    assert states.kv.allocate(parent, 1)
    child = Sequence(parent.request, 1, parent.arrival)
    states.kv.fork(parent, child)
    for sequence in (parent, child):
        sequence.token_ids.append(9)
    states.step((parent, 1))
    states.step((child, 1))
    check(states, [parent, child])


def test_checkpoints_take_nothing_that_running_sequences_need() -> None:
    states = States(num_spare=1, max_num_seqs=2)
    first, second = states.start(list(range(40))), states.start(list(range(100, 140)))
    states.step((first, 39), (second, 39))
    check(states, [first, second])
    # The only block left for a checkpoint got the first of all, and each step may have another.
    assert states.start([*range(20)]).num_computed_tokens == 8


def test_nothing_is_kept_without_a_prefix_cache() -> None:
    states = States(num_spare=0, caching=False)
    sequence = computed(states, list(range(30)))
    assert states.start(list(range(30))).num_computed_tokens == 0
    states.kv.free(sequence)
    assert states.kv.states.num_cached == 0


@pytest.mark.parametrize("forget", ["blocks", "prefixes"])
def test_checkpoints_are_forgotten_with_blocks(forget: str) -> None:
    states = States()
    sequence = computed(states, list(range(30)))
    if forget == "blocks":
        states.kv.forget_blocks(sequence.block_table.view().tolist())
    else:
        states.kv.forget_prefixes()
    assert states.kv.states.num_cached == 0


@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_random_walk_reads_only_the_states_of_its_own_tokens(seed: int, caching: bool) -> None:
    rng = random.Random(seed)
    states = States(num_spare=rng.randint(1, 9), caching=caching)
    live: list[Sequence] = []
    num_found = 0
    for _ in range(600):
        action = rng.random()
        if action < 0.2 and len(live) < 6:
            live.append(states.start([*range(rng.randint(0, 40)), *rng.choices(range(2), k=3)]))
            num_found += live[-1].num_computed_tokens
        elif action < 0.3 and live:
            states.kv.free(live.pop(rng.randrange(len(live))))
        elif action < 0.4 and 0 < len(live) < 6:
            parent = rng.choice(live)
            child = Sequence(parent.request, 1, parent.arrival)
            child.token_ids = type(child.token_ids)(np.int64, parent.token_ids.view())
            states.kv.fork(parent, child)
            live.append(child)
        elif action < 0.42:
            states.kv.forget_prefixes()
        elif live:
            states.step(*_next_parts(rng, live))
        check(states, live)
    for sequence in live:
        states.kv.free(sequence)
    check(states, [])
    assert (num_found > 0) == caching


def _next_parts(rng: random.Random, live: list[Sequence]) -> list[tuple[Sequence, int]]:
    parts = []
    for sequence in rng.sample(live, rng.randint(1, len(live))):
        if sequence.num_uncomputed_tokens == 0:
            sequence.token_ids.append(sequence.num_tokens if rng.random() < 0.9 else 0)
        parts.append((sequence, rng.randint(1, sequence.num_uncomputed_tokens)))
    return parts
