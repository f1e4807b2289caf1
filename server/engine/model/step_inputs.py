"""Packs a step into the input arrays of a PagedAttention model."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from server.engine.model.attention import CHUNK_PREFIX, PLAIN_ATTENTION, AttentionForm
from server.engine.model.rope_switch import LONG_ROPE_INPUT
from server.engine.model.state_inputs import StatePacker
from server.engine.model.step_sizes import StepSizes
from server.engine.prompt_logprobs import PromptLogprobs
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import Sequence

TOKENS_INPUT = "input_ids"
SAMPLED_ROWS_INPUT = "sampled_tokens_indices"

Counts = npt.NDArray[np.int32]

PromptRows = tuple[PromptLogprobs, int]
"""The log probabilities of a prompt so far, and the number of rows that it gets in a step."""


@dataclass(frozen=True, slots=True)
class StepInputs:
    """The inputs of a step by name, and the owners of the sampled rows.

    Input layout (openvino, sdpa_to_paged_attention.cpp): the T tokens of B sequences one after the
    other; `past_lens` i32[B], `subsequence_begins` i32[B+1], `block_indices` i32[all blocks of all
    sequences], `block_indices_begins` i32[B+1], `max_context_len` i32[]. `sampled_tokens_indices`
    i64[R] names one row for each sequence in `complete`, then those of drafts, then the rows of
    `prompts`, then padding. `draft_rows` is the first row of each sequence's drafts, by its place
    among the sampled ones; there are `num_draft_rows` of all sequences.
    """

    arrays: dict[str, npt.NDArray[Any]]
    complete: list[Sequence]
    prompts: list[PromptRows]
    draft_rows: dict[Sequence, int] = field(default_factory=dict)
    num_draft_rows: int = 0


class StepPacker:
    """Packs steps, and pads their tokens and sampled rows up to one of a few sizes.

    Padding consists of sequences of one token without context, which all write to `spare_block`, a
    block that no sequence reads. It does not change the other rows.
    """

    def __init__(
        self,
        token_sizes: StepSizes,
        row_sizes: StepSizes,
        spare_block: int,
        has_positions: bool,
        attention: AttentionForm = PLAIN_ATTENTION,
        block_size: int = 32,
        states: StatePacker | None = None,
    ) -> None:
        self._token_sizes = token_sizes
        self._row_sizes = row_sizes
        self._spare_block = spare_block
        self._has_positions = has_positions
        self._attention = attention
        self._block_size = block_size
        self._states = states

    def pack(self, step: ScheduledStep) -> StepInputs:
        """Pack a step."""
        inputs = self.pack_without_tokens(step)
        fill_tokens(inputs, step)
        return inputs

    def pack_without_tokens(self, step: ScheduledStep) -> StepInputs:
        """Pack a step some of whose tokens may not be known yet; `fill_tokens` adds them."""
        num_padding = self._token_sizes.padded(step.num_tokens) - step.num_tokens
        past = np.array([s.num_computed_tokens for s in step.sequences], np.int32)
        num_new = np.array(step.num_new_tokens, np.int32)
        inputs = self._choose_rows(step, past + num_new)
        inputs.arrays.update(self._arrays(num_new, past, step.sequences, num_padding))
        if self._attention.long_after is not None:
            is_long = [sequence.uses_long_rope for sequence in step.sequences]
            inputs.arrays[LONG_ROPE_INPUT][: step.num_tokens] = np.repeat(is_long, num_new)
        return inputs

    def pack_padding(self, num_tokens: int, num_rows: int) -> StepInputs:
        """A step of this size that consists of padding."""
        none = np.zeros(0, np.int32)
        arrays = self._arrays(none, none, [], num_tokens)
        arrays[SAMPLED_ROWS_INPUT] = np.zeros(num_rows, np.int64)
        return StepInputs(arrays, [], [])

    def _arrays(
        self,
        num_new: npt.NDArray[np.int32],
        past: npt.NDArray[np.int32],
        sequences: list[Sequence],
        num_padding: int,
    ) -> dict[str, npt.NDArray[Any]]:
        """All inputs except the sampled rows, for the sequences and the padding after them.

        All tokens are 0.
        """
        num_new = np.concatenate([num_new, np.ones(num_padding, np.int32)])
        past = np.concatenate([past, np.zeros(num_padding, np.int32)])
        spare = np.array([self._spare_block], np.int32)
        tables = [*(s.block_table.view() for s in sequences), *[spare] * num_padding]
        arrays: dict[str, npt.NDArray[Any]] = _places(num_new, past, tables)
        begins = arrays["subsequence_begins"]
        arrays[TOKENS_INPUT] = np.zeros(begins[-1], np.int64)
        if self._has_positions:
            counted = np.arange(int(begins[-1]), dtype=np.int64)
            arrays["position_ids"] = counted + np.repeat(past - begins[:-1], num_new)
        if self._attention.long_after is not None:
            arrays[LONG_ROPE_INPUT] = np.zeros(begins[-1], np.bool_)
        if self._attention.chunk_size is not None:
            parts = _cut_into_chunks(
                num_new, past, tables, self._attention.chunk_size, self._block_size
            )
            arrays |= {CHUNK_PREFIX + name: array for name, array in _places(*parts).items()}
        if self._states is not None:
            arrays |= self._states.pack(sequences, num_new, past)
        return arrays

    def _choose_rows(self, step: ScheduledStep, ends: npt.NDArray[np.int32]) -> StepInputs:
        """The rows whose logits are needed, padded to one of the sizes; never an empty array.

        There are no other arrays yet.
        """
        begins = _prefix_sums(step.num_new_tokens)
        sizes = np.array([s.num_tokens for s in step.sequences], np.int32)
        # A token that is not known yet is not counted in num_tokens.
        complete = np.flatnonzero(ends >= sizes)
        firsts = begins[complete + 1] - 1
        draft_rows, of_drafts = _draft_rows(step, begins, len(firsts))
        for place, index in enumerate(complete if step.drafts else ()):
            firsts[place] -= len(step.drafts.get(step.sequences[index], ()))
        parts: list[npt.NDArray[Any]] = [firsts, of_drafts]
        prompts: list[PromptRows] = []
        for sequence, begin, end in zip(step.sequences, begins[:-1], ends, strict=True):
            gathered = sequence.unread_prompt_logprobs
            if gathered is not None:
                parts.append(_prompt_rows(sequence, gathered, begin, end))
                prompts.append((gathered, len(parts[-1])))
        rows = np.concatenate(parts)
        padded = np.zeros(self._row_sizes.padded(max(1, len(rows))), np.int64)
        padded[: len(rows)] = rows
        return StepInputs(
            {SAMPLED_ROWS_INPUT: padded},
            [step.sequences[i] for i in complete],
            prompts,
            draft_rows,
            len(of_drafts),
        )


def _draft_rows(
    step: ScheduledStep, begins: Counts, num_before: int
) -> tuple[dict[Sequence, int], Counts]:
    """The rows of all drafts, and where each sequence's begin if `num_before` rows come first."""
    found: dict[Sequence, int] = {}
    parts = [np.zeros(0, np.int32)]
    for sequence, end in zip(step.sequences, begins[1:], strict=True) if step.drafts else ():
        count = len(step.drafts.get(sequence, ()))
        if count:
            found[sequence] = num_before
            parts.append(np.arange(end - count, end, dtype=np.int32))
            num_before += count
    return found, np.concatenate(parts)


def _places(num_new: Counts, past: Counts, tables: list[Counts]) -> dict[str, npt.NDArray[Any]]:
    """Where the new and the past tokens of each sequence are."""
    return {
        "past_lens": past,
        "subsequence_begins": _prefix_sums(num_new),
        "block_indices": np.concatenate(tables),
        "block_indices_begins": _prefix_sums([len(table) for table in tables]),
        "max_context_len": np.array((past + num_new).max(), np.int32),
    }


def _cut_into_chunks(
    num_new: Counts, past: Counts, tables: list[Counts], chunk_size: int, block_size: int
) -> tuple[Counts, Counts, list[Counts]]:
    """The same tokens as sequences that begin at each multiple of `chunk_size`.

    A layer with chunked attention then sees no token of an earlier chunk.
    """
    parts: list[tuple[int, int, Counts]] = []
    for count, begin, table in zip(num_new.tolist(), past.tolist(), tables, strict=True):
        position, end = begin, begin + count
        while position < end:
            start = position // chunk_size * chunk_size
            stop = min(end, start + chunk_size)
            blocks = table[start // block_size : -(-stop // block_size)]
            parts.append((stop - position, position - start, blocks))
            position = stop
    counts, pasts, blocks_of_parts = zip(*parts, strict=True)
    return np.array(counts, np.int32), np.array(pasts, np.int32), list(blocks_of_parts)


def fill_tokens(inputs: StepInputs, step: ScheduledStep) -> None:
    """Write the tokens of a step, all known now, into what `pack_without_tokens` returned."""
    tokens, begin = inputs.arrays[TOKENS_INPUT], 0
    for sequence, num_new in zip(step.sequences, step.num_new_tokens, strict=True):
        past = sequence.num_computed_tokens
        drafts = step.drafts.get(sequence, ())
        end = begin + num_new - len(drafts)
        tokens[begin:end] = sequence.token_ids.view(past, past + end - begin)
        begin += num_new
        tokens[end:begin] = drafts


def _prompt_rows(
    sequence: Sequence, gathered: PromptLogprobs, begin: int, end: int
) -> npt.NDArray[np.int64]:
    """The rows of the step that predict prompt tokens without a log probability so far.

    The sequence starts at row `begin` of the step; `end` is its number of computed tokens after it.
    """
    first = max(sequence.num_computed_tokens, gathered.num_done)
    positions = np.arange(first, min(end, sequence.num_prompt_tokens - 1))
    return positions - sequence.num_computed_tokens + begin


def _prefix_sums(counts: npt.ArrayLike) -> npt.NDArray[np.int32]:
    counts = np.asarray(counts, np.int32)
    sums = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=sums[1:])
    return sums
