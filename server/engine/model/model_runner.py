"""Runs one step: packs PagedAttention's inputs, infers, returns the logits."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.adapters.adapter_store import AdapterStore
from server.engine.adapters.bound_adapters import BoundAdapters
from server.engine.kv.kv_cache import DeviceKVCache, HostKVCache
from server.engine.kv.kv_cache_manager import BlockCopy
from server.engine.kv.state_cache_manager import NO_STATE_BLOCKS, StateLayout
from server.engine.model.logits_head import LogitsHead
from server.engine.model.model_loader import LoadedModel
from server.engine.model.state_inputs import StatePacker
from server.engine.model.step_inputs import (
    TOKENS_INPUT,
    PromptRows,
    StepInputs,
    StepPacker,
    fill_tokens,
)
from server.engine.model.step_sizes import StepSizes
from server.engine.prompt_logprobs import PromptLogprobs
from server.engine.sampling.logits import Logits
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import Sequence
from server.host.metrics import EngineStats

Hidden = npt.NDArray[Any]

NO_ROWS: Hidden = np.empty((0, 0), np.float32)

PromptLogits = tuple[PromptLogprobs, Logits]
"""The log probabilities of a prompt so far, and the logits of its next positions."""

MAX_WARM_UP_ROWS = 64
"""Rows of logits are large: memory for more of them is allocated when they are needed."""


@dataclass(frozen=True, slots=True)
class StepOutput:
    """The sequences whose tokens are all computed after a step, and what the model gives for each.

    `hidden` [sequences, hidden size] are the rows that the output head gets, and `logits` what it
    makes of them: none where no request of the step needs logits. After them are the rows of
    drafts, each sequence's in order; `draft_rows` is the first one of each. `prompt_logits` are
    rows for log probabilities of prompts. All of these are valid until the next step runs.
    """

    sequences: list[Sequence]
    logits: Logits
    prompt_logits: list[PromptLogits]
    hidden: Hidden = field(default_factory=lambda: NO_ROWS)
    draft_rows: dict[Sequence, int] = field(default_factory=dict)


class ModelRunner:
    """The infer requests of a model's layers and head, and its KV cache and state tables.

    A step has at most `max_num_tokens` tokens and `max_num_rows` rows of logits, without those for
    log probabilities of prompts; both are padded up to one of a few sizes.
    """

    def __init__(
        self,
        model: LoadedModel,
        num_blocks: int,
        stats: EngineStats,
        max_num_tokens: int,
        max_num_rows: int,
        states: StateLayout = NO_STATE_BLOCKS,
        adapters: AdapterStore | None = None,
    ) -> None:
        self._model = model
        self._store = adapters
        self._stats = stats
        self.token_sizes = StepSizes(max_num_tokens)
        self.row_sizes = StepSizes(max_num_rows)
        self._packer = StepPacker(
            self.token_sizes,
            self.row_sizes,
            spare_block=num_blocks,
            has_positions=model.has_position_ids,
            attention=model.attention,
            block_size=model.block_size,
            states=StatePacker(states) if model.state_tables else None,
        )
        self._prepared: tuple[ScheduledStep, StepInputs] | None = None
        self.last_size = 0
        """The tokens of the last step, with its padding."""
        self._head = LogitsHead(model)
        self._caches: list[HostKVCache | DeviceKVCache] = []
        try:
            self._make_caches(num_blocks, states)
            self.reset()
        except BaseException:
            self._close_caches()
            raise

    def _make_caches(self, num_blocks: int, states: StateLayout) -> None:
        model = self._model
        # One more block, which padding writes to.
        kv = model.device.make_kv_cache(model.kv_inputs, num_blocks + 1, model.layers)
        self._caches.append(kv)
        if model.state_tables:
            num_states = states.num_blocks + 2
            table = model.device.make_kv_cache(model.state_tables, num_states, model.layers)
            self._caches.append(table)
            table.clear_block(states.zero_block)

    def reset(self) -> None:
        """Make new infer requests, for example after one has failed; the KV cache stays."""
        self._layers = self._model.layers.create_infer_request()
        self._adapters = None if self._store is None else BoundAdapters(self._store, self._layers)
        self._bound: dict[str, npt.NDArray[Any]] = {}
        self._head.reset()
        for cache in self._caches:
            for name, tensor in cache.tensors.items():
                self._layers.set_tensor(name, tensor)

    def close(self) -> None:
        """Free the model and the KV cache; may be called again."""
        try:
            self.settle()
        finally:
            self._close_caches()
            if hasattr(self, "_model"):
                del self._layers, self._head, self._model, self._adapters

    def _close_caches(self) -> None:
        for cache in self._caches:
            cache.close()

    def copy_blocks(self, copies: list[BlockCopy]) -> None:
        """Copy whole KV blocks."""
        self._caches[0].copy_blocks(copies)

    def prepare(self, step: ScheduledStep) -> None:
        """Pack the step that may run next while the device computes another one."""
        self._prepared = step, self._packer.pack_without_tokens(step)

    def settle(self) -> None:
        """Let what waits for the logits of the last step read them; nothing once it is closed."""
        if hasattr(self, "_model"):
            self._head.settle()

    def run(self, step: ScheduledStep, overlapped: Callable[[], None] | None = None) -> StepOutput:
        """Compute a step; `overlapped` is called while the device computes the layers."""
        started = perf_counter()
        if step.copies:
            self.copy_blocks(step.copies)
        inputs = self._pack(step)
        self._set(inputs, step)
        packed = perf_counter()
        _infer_overlapped(self._layers, overlapped)
        logits = self._logits() if _needs_logits(inputs) else self._head.no_rows()
        self._stats.pack_s += packed - started
        self._stats.infer_s += perf_counter() - packed
        num_complete = len(inputs.complete)
        hidden = self._layers.get_output_tensor(0).data
        hidden = hidden.reshape(len(hidden), -1)[:num_complete]
        num_chosen = num_complete + inputs.num_draft_rows
        prompt_logits = split_by_prompt(logits.select(slice(num_chosen, None)), inputs.prompts)
        chosen = logits.select(slice(num_chosen))
        return StepOutput(inputs.complete, chosen, prompt_logits, hidden, inputs.draft_rows)

    @property
    def can_advance(self) -> bool:
        """Whether `advance` is possible: not where each chunk of a text is a sequence."""
        return self._model.attention.chunk_size is None

    def bind(self, step: ScheduledStep) -> None:
        """Make a step of one token of each sequence the next inference."""
        self._set(self._packer.pack(step), step)

    def advance(self, tokens: npt.NDArray[np.int64], rows: list[int]) -> None:
        """Let these sequences of the bound step go on with the next token, one of all `tokens`.

        Their blocks have room for it. The others repeat their token, which changes nothing.
        """
        bound, count = self._bound, len(tokens)
        bound[TOKENS_INPUT][:count] = tokens
        past = bound["past_lens"]
        past[rows] += 1
        if "position_ids" in bound:
            bound["position_ids"][rows] += 1
        bound["max_context_len"][...] = past.max() + 1

    def likeliest_of_bound(self) -> npt.NDArray[np.int64]:
        """Infer the bound step; returns the likeliest next token of each sequence, and padding."""
        # In this thread: handing it to another one and back takes as long as a tiny model.
        self._layers.infer(share_outputs=True)
        return self._head.likeliest(self._layers.get_output_tensor(0))

    def logits_of_bound(self) -> Logits:
        """Infer the bound step; returns the logits of each sequence, and padding."""
        self._layers.infer(share_outputs=True)
        return self._logits()

    def warm_up(self, num_tokens: int) -> float:
        """Run a step of this size that consists of padding; returns the seconds it took."""
        num_rows = min(num_tokens, self.row_sizes.sizes[-1], MAX_WARM_UP_ROWS)
        inputs = self._packer.pack_padding(num_tokens, num_rows)
        self._set(inputs, ScheduledStep())
        started = perf_counter()
        _infer_overlapped(self._layers, None)
        self._logits()
        return perf_counter() - started

    def _pack(self, step: ScheduledStep) -> StepInputs:
        prepared, self._prepared = self._prepared, None
        if prepared is None or prepared[0] is not step:
            return self._packer.pack(step)
        _, inputs = prepared
        fill_tokens(inputs, step)
        self._stats.prepared_steps += 1
        return inputs

    def _set(self, inputs: StepInputs, step: ScheduledStep) -> None:
        """Make these arrays, and the adapters of a step, the inputs of the next inference.

        An array is copied into the bound one if that has the same shape, as most do because steps
        have few sizes. Binding another one takes ten times as long.
        """
        arrays = inputs.arrays
        self.last_size = len(arrays[TOKENS_INPUT])
        if self._adapters is not None:
            adapters = (sequence.request.adapter for sequence in step.sequences)
            rows = zip(adapters, step.num_new_tokens, strict=True)
            arrays = {**arrays, **self._adapters.pack(rows)}
        for name, array in arrays.items():
            bound = self._bound.get(name)
            if bound is not None and bound.shape == array.shape:
                np.copyto(bound, array)
            else:
                self._layers.set_tensor(name, ov.Tensor(array, shared_memory=True))
                self._bound[name] = array

    def _logits(self) -> Logits:
        """The rows of the last inference and its padding."""
        return self._head.compute(self._layers.get_output_tensor(0))


def _infer_overlapped(request: ov.InferRequest, overlapped: Callable[[], None] | None) -> None:
    """Run a request and meanwhile a function; waits for the request even if the function raises."""
    request.start_async()
    try:
        if overlapped is not None:
            overlapped()
    finally:
        request.wait()


def _needs_logits(inputs: StepInputs) -> bool:
    return any(num for _, num in inputs.prompts) or any(
        sequence.request.needs_logits for sequence in inputs.complete
    )


def split_by_prompt(logits: Logits, prompts: list[PromptRows]) -> list[PromptLogits]:
    """Give each prompt its rows of the logits, which follow one another."""
    split, start = [], 0
    for gathered, num_rows in prompts:
        split.append((gathered, logits.select(slice(start, start + num_rows))))
        start += num_rows
    return split
