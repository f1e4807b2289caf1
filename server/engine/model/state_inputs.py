"""The inputs of models with states: where each sequence's states are read and written.

OpenVINO's PagedAttention transformation turns the states of convolutions and linear attention into
tables of blocks, inputs like the KV cache (openvino, PagedCausalConv1D, PagedGatedDeltaNet). A step
reads the first block of each sequence. With an interval of 0 the second one gets the states after
the step. Otherwise the second one gets those after the first multiple of the interval, counted from
the start of the sequence, the third those after the next multiple, and so on; the last block gets
those after the step.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from server.engine.kv.state_cache_manager import StateLayout
from server.engine.sequence import Sequence

STATE_INPUTS = frozenset(
    {"la.past_lens", "la.block_indices", "la.block_indices_begins", "la.cache_interval"}
)


class StatePacker:
    """Packs the state blocks of a step."""

    def __init__(self, layout: StateLayout) -> None:
        self._spare = layout.spare_block
        self._zero = layout.zero_block
        self._interval = layout.least_interval

    def pack(
        self,
        sequences: list[Sequence],
        num_new: npt.NDArray[np.int32],
        past: npt.NDArray[np.int32],
    ) -> dict[str, npt.NDArray[Any]]:
        """The inputs by name, all i32: past lengths and intervals [B], block tables one after
        the other, and where each one begins [B+1].

        `num_new` and `past` also count the padding after the sequences. It begins without states
        and leaves none, like sequences that have no blocks.
        """
        counts = zip(sequences, num_new.tolist(), past.tolist(), strict=False)
        tables = [self._table(*count) for count in counts]
        tables += [[self._zero, self._spare]] * (len(num_new) - len(tables))
        begins = np.zeros(len(tables) + 1, np.int32)
        np.cumsum([len(table) for table in tables], out=begins[1:])
        return {
            "la.past_lens": past,
            "la.block_indices": np.array([block for table in tables for block in table], np.int32),
            "la.block_indices_begins": begins,
            "la.cache_interval": np.full(len(tables), self._interval, np.int32),
        }

    def _table(self, sequence: Sequence, num_new: int, past: int) -> list[int]:
        states = sequence.states
        if states is None:
            return [self._zero, *[self._spare] * max(1, self._num_written(num_new, past))]
        num_between = self._num_written(num_new, past) - 1
        first = past // self._interval + 1 if self._interval else 0
        between = [
            states.checkpoints.get((first + number) * self._interval, self._spare)
            for number in range(num_between)
        ]
        return [states.current, *between, states.following]

    def _num_written(self, num_new: int, past: int) -> int:
        """How many blocks a step writes."""
        return -(-(past % self._interval + num_new) // self._interval) if self._interval else 1
