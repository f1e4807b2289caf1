"""Where the states of a step's sequences are read and written."""

import numpy as np
import pytest
from support.engine_helpers import make_sequence

from server.engine.kv.state_cache_manager import StateLayout
from server.engine.model.state_inputs import StatePacker
from server.engine.sequence import Sequence, StateBlocks

LAYOUT = StateLayout(num_blocks=10, max_num_seqs=4, interval=8, least_interval=4)
SPARE, ZERO = LAYOUT.spare_block, LAYOUT.zero_block


def tables(
    sequences: list[Sequence], num_new: list[int], past: list[int], layout: StateLayout = LAYOUT
) -> list[list[int]]:
    arrays = StatePacker(layout).pack(
        sequences, np.array(num_new, np.int32), np.array(past, np.int32)
    )
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int32)}
    assert arrays["la.past_lens"].tolist() == past
    assert arrays["la.cache_interval"].tolist() == [layout.least_interval] * len(past)
    begins = arrays["la.block_indices_begins"]
    return [part.tolist() for part in np.split(arrays["la.block_indices"], begins[1:-1])]


@pytest.mark.parametrize(
    ("past", "num_new", "table"),
    [
        (0, 3, [1, 2]),
        (0, 4, [1, 2]),
        (3, 2, [1, SPARE, 2]),
        (6, 11, [1, 7, SPARE, SPARE, 2]),
        (6, 10, [1, 7, SPARE, 2]),
    ],
)
def test_a_block_for_each_interval_that_begins_and_the_last_for_the_end(
    past: int, num_new: int, table: list[int]
) -> None:
    sequence = make_sequence(range(40))
    sequence.states = StateBlocks(1, 2, checkpoints={8: 7})
    assert tables([sequence], [num_new], [past]) == [table]


def test_padding_reads_zeros_and_leaves_nothing() -> None:
    sequence = make_sequence(range(4))
    sequence.states = StateBlocks(3, 3)
    assert tables([sequence], [1, 1, 1], [5, 0, 0]) == [[3, 3], [ZERO, SPARE], [ZERO, SPARE]]
    assert tables([], [1], [0]) == [[ZERO, SPARE]]


def test_a_sequence_without_blocks_is_like_padding() -> None:
    """Such are the steps that tuning measures."""
    assert tables([make_sequence(range(9))], [9], [0]) == [[ZERO, SPARE, SPARE, SPARE]]


def test_nothing_is_kept_on_the_way_without_an_interval() -> None:
    sequence = make_sequence(range(40))
    sequence.states = StateBlocks(1, 2)
    layout = StateLayout(num_blocks=8, max_num_seqs=4, interval=8)
    assert tables([sequence], [40], [0], layout) == [[1, 2]]
