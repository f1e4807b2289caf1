import numpy as np
from support.engine_helpers import make_sequence

from server.engine.model.attention import AttentionForm
from server.engine.model.step_inputs import StepPacker
from server.engine.model.step_sizes import StepSizes
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import Sequence

SPARE = 99
PACKER = StepPacker(StepSizes(256), StepSizes(64), spare_block=SPARE, has_positions=True)


def computed(num_tokens: int, num_computed: int, blocks: list[int]) -> Sequence:
    sequence = make_sequence(range(10, 10 + num_tokens))
    sequence.num_computed_tokens = num_computed
    sequence.block_table.extend(blocks)
    return sequence


def test_padding_follows_the_sequences_and_writes_to_the_spare_block() -> None:
    reading, decoding = computed(40, 0, [5, 6]), computed(34, 33, [7, 8])
    step = ScheduledStep([decoding, reading], [1, 36])
    inputs = PACKER.pack(step)
    arrays = {name: array.tolist() for name, array in inputs.arrays.items()}
    assert arrays["input_ids"] == [43, *range(10, 46), *[0] * 3]
    assert arrays["position_ids"] == [33, *range(36), *[0] * 3]
    assert arrays["past_lens"] == [33, 0, *[0] * 3]
    assert arrays["subsequence_begins"] == [0, 1, *range(37, 41)]
    assert arrays["block_indices"] == [7, 8, 5, 6, *[SPARE] * 3]
    assert arrays["block_indices_begins"] == [0, 2, *range(4, 8)]
    assert arrays["max_context_len"] == 36
    # Only the decoding one is complete, and its row is the first.
    assert inputs.complete == [decoding]
    assert arrays["sampled_tokens_indices"] == [0]


def test_sampled_rows_are_padded_too() -> None:
    sequences = [computed(2, 1, [block]) for block in range(17)]
    inputs = PACKER.pack(ScheduledStep(sequences, [1] * 17))
    assert inputs.complete == sequences
    assert inputs.arrays["sampled_tokens_indices"].tolist() == [*range(17), 0]


def test_a_step_of_padding_alone() -> None:
    inputs = PACKER.pack_padding(4, 2)
    assert inputs.complete == []
    assert set(inputs.arrays["block_indices"]) == {SPARE}
    assert len(inputs.arrays["input_ids"]) == 4
    assert inputs.arrays["sampled_tokens_indices"].tolist() == [0, 0]
    assert {array.dtype for array in inputs.arrays.values()} == {np.dtype("i4"), np.dtype("i8")}


def test_chunked_layers_see_sequences_that_begin_at_each_chunk() -> None:
    form = AttentionForm(chunk_size=64)
    packer = StepPacker(StepSizes(256), StepSizes(64), SPARE, True, form, block_size=32)
    # 150 tokens after 50: up to 64, up to 128, up to 192, up to 200. One decodes at position 64.
    reading, decoding = computed(200, 50, [1, 2, 3, 4, 5, 6, 7]), computed(65, 64, [11, 12, 13])
    arrays = packer.pack(ScheduledStep([reading, decoding], [150, 1])).arrays
    num_padding = len(arrays["input_ids"]) - 151
    padding = [1] * num_padding
    counts = np.diff(arrays["chunk.subsequence_begins"]).tolist()
    assert counts == [14, 64, 64, 8, 1, *padding]
    assert arrays["chunk.past_lens"].tolist() == [50, 0, 0, 0, 0, *[0] * num_padding]
    blocks = [1, 2, 3, 4, 5, 6, 7, 13, *[SPARE] * num_padding]
    assert arrays["chunk.block_indices"].tolist() == blocks
    assert np.diff(arrays["chunk.block_indices_begins"]).tolist() == [2, 2, 2, 1, 1, *padding]
    assert arrays["chunk.max_context_len"] == 64
    assert arrays["max_context_len"] == 200, "other layers see all"


def test_each_token_has_the_rope_of_its_sequence() -> None:
    form = AttentionForm(long_after=40)
    packer = StepPacker(StepSizes(256), StepSizes(64), SPARE, True, form)
    short, long = computed(40, 37, [1, 2]), computed(41, 40, [3, 4])
    long.uses_long_rope = True
    arrays = packer.pack(ScheduledStep([short, long], [3, 1])).arrays
    assert arrays["uses_long_rope"][:4].tolist() == [False, False, False, True]
    assert not arrays["uses_long_rope"][4:].any(), "padding"
