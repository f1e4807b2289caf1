"""Runs one step: packs PagedAttention's inputs, infers, returns the logits."""

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.graph_output import SAMPLED_ROWS_INPUT
from server.engine.kv_cache import DeviceKVCache, HostKVCache
from server.engine.logprobs import PromptLogprobs
from server.engine.model_loader import LoadedModel
from server.engine.scheduler import ScheduledStep
from server.engine.sequence import Sequence
from server.engine.stats import EngineStats

PromptRows = tuple[PromptLogprobs, npt.NDArray[np.int64]]
"""Rows of a step whose logits a prompt needs."""

PromptLogits = tuple[PromptLogprobs, npt.NDArray[np.float32]]
"""The logits of these rows."""


@dataclass(frozen=True, slots=True)
class StepOutput:
    """The sequences that are fully computed after a step, and a row of logits for each.

    `logits` is f32[sequences, vocabulary] and `maxima`, if there is one, f32[sequences, stretches]:
    the highest logit of each stretch of the vocabulary. `prompt_logits` are the next rows that
    the log probabilities of a prompt need. All are valid until the next step runs.
    """

    sequences: list[Sequence]
    logits: npt.NDArray[np.float32]
    maxima: npt.NDArray[np.float32] | None
    prompt_logits: list[PromptLogits]


class ModelRunner:
    """One infer request of a compiled model with its KV cache bound.

    Input layout (openvino, sdpa_to_paged_attention.cpp): T tokens of B sequences in a row;
    `past_lens` i32[B], `subsequence_begins` i32[B+1], `block_indices` i32[all blocks of all
    sequences], `block_indices_begins` i32[B+1], `max_context_len` i32[].
    """

    def __init__(self, model: LoadedModel, num_blocks: int, stats: EngineStats) -> None:
        self._model = model
        self._stats = stats
        self._cache: HostKVCache | DeviceKVCache
        if model.device.startswith("CPU"):
            self._cache = HostKVCache(model.kv_inputs, num_blocks)
        else:
            self._cache = DeviceKVCache(model.kv_inputs, num_blocks, model.compiled)
        self.reset()

    def reset(self) -> None:
        """Make a new infer request, for example after one failed; the KV contents stay."""
        self._request = self._model.compiled.create_infer_request()
        for name, tensor in self._cache.tensors.items():
            self._request.set_tensor(name, tensor)

    def close(self) -> None:
        """Free the model and the KV cache; harmless when they are free already."""
        self._cache.close()
        if hasattr(self, "_model"):
            del self._request, self._model

    def run(self, step: ScheduledStep) -> StepOutput:
        """Compute a step."""
        started = perf_counter()
        if step.copies:
            self._cache.copy_blocks(step.copies)
        inputs, complete, prompts = self._pack(step)
        for name, array in inputs.items():
            self._request.set_tensor(name, ov.Tensor(array, shared_memory=True))
        packed = perf_counter()
        self._request.infer()
        self._stats.pack_s += packed - started
        self._stats.infer_s += perf_counter() - packed
        output = self._model.output
        logits = self._rows(output.logits_index)
        maxima = None
        if output.maxima_index is not None:
            maxima = self._rows(output.maxima_index)[: len(complete)]
        prompt_logits = _share_out(logits[len(complete) :], prompts)
        return StepOutput(complete, logits[: len(complete)], maxima, prompt_logits)

    def _rows(self, output_index: int) -> npt.NDArray[np.float32]:
        """The rows of an output, without a copy."""
        data = self._request.get_output_tensor(output_index).data
        rows: npt.NDArray[np.float32] = data.reshape(len(data), -1)
        return rows

    def _pack(
        self, step: ScheduledStep
    ) -> tuple[dict[str, npt.NDArray[Any]], list[Sequence], list[PromptRows]]:
        num_new = np.array(step.num_new_tokens, np.int32)
        past = np.array([s.num_computed_tokens for s in step.sequences], np.int32)
        ends = past + num_new
        begins = _prefix_sums(num_new)
        tables = [s.block_table.view() for s in step.sequences]
        inputs: dict[str, npt.NDArray[Any]] = {
            "input_ids": _input_ids(step),
            "past_lens": past,
            "subsequence_begins": begins,
            "block_indices": np.concatenate(tables),
            "block_indices_begins": _prefix_sums([len(table) for table in tables]),
            "max_context_len": np.array(ends.max(), np.int32),
        }
        if self._model.has_position_ids:
            inputs["position_ids"] = _positions(past, num_new, begins)
        sizes = np.array([s.num_tokens for s in step.sequences], np.int32)
        complete = np.flatnonzero(ends == sizes)
        prompts = [
            (gathered, _prompt_rows(sequence, gathered, begin, end))
            for sequence, begin, end in zip(step.sequences, begins[:-1], ends, strict=True)
            if (gathered := sequence.unread_prompt_logprobs) is not None
        ]
        rows = np.concatenate([begins[complete + 1] - 1, *(rows for _, rows in prompts)])
        # A matrix product needs at least one row, also when none is looked at.
        inputs[SAMPLED_ROWS_INPUT] = rows.astype(np.int64) if len(rows) else np.zeros(1, np.int64)
        return inputs, [step.sequences[i] for i in complete], prompts


def _prompt_rows(
    sequence: Sequence, gathered: PromptLogprobs, begin: int, end: int
) -> npt.NDArray[np.int64]:
    """Rows of the step, in which the sequence starts at row `begin` and ends before token `end`,
    that tell of a next token of the prompt which is not known yet.
    """
    first = max(sequence.num_computed_tokens, gathered.num_done)
    positions = np.arange(first, min(end, sequence.num_prompt_tokens - 1))
    return positions - sequence.num_computed_tokens + begin


def _share_out(logits: npt.NDArray[np.float32], prompts: list[PromptRows]) -> list[PromptLogits]:
    """Give each prompt its rows of the logits, which follow one another."""
    shared, start = [], 0
    for gathered, rows in prompts:
        shared.append((gathered, logits[start : start + len(rows)]))
        start += len(rows)
    return shared


def _prefix_sums(counts: npt.ArrayLike) -> npt.NDArray[np.int32]:
    counts = np.asarray(counts, np.int32)
    sums = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=sums[1:])
    return sums


def _input_ids(step: ScheduledStep) -> npt.NDArray[np.int64]:
    parts = [
        s.token_ids.view(s.num_computed_tokens, s.num_computed_tokens + n)
        for s, n in zip(step.sequences, step.num_new_tokens, strict=True)
    ]
    return np.concatenate(parts)


def _positions(
    past: npt.NDArray[np.int32], num_new: npt.NDArray[np.int32], begins: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    """The position of every token: counted on from the past of its own sequence."""
    total = int(begins[-1])
    return np.arange(total, dtype=np.int64) + np.repeat(past - begins[:-1], num_new)
