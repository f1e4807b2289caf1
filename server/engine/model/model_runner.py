"""Runs one step: packs PagedAttention's inputs, infers, returns the logits."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.model.model_loader import LoadedModel
from server.engine.model.step_inputs import PromptRows, StepInputs, StepPacker, put_tokens
from server.engine.model.step_sizes import StepSizes
from server.engine.prompt_logprobs import PromptLogprobs
from server.engine.sampling.logits import Logits
from server.engine.sampling.vocab_tiles import VocabTiles
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import Sequence
from server.engine.stats import EngineStats

PromptLogits = tuple[PromptLogprobs, Logits]
"""What gathers the log probabilities of a prompt, and its next rows of logits."""

MAX_WARM_UP_ROWS = 64
"""Rows of logits are large: memory for more is taken when so many sequences are there."""


@dataclass(frozen=True, slots=True)
class StepOutput:
    """The sequences that are fully computed after a step, and a row of logits for each.

    `prompt_logits` are the next rows that the log probabilities of a prompt need. All are valid
    until the next step runs.
    """

    sequences: list[Sequence]
    logits: Logits
    prompt_logits: list[PromptLogits]


class ModelRunner:
    """The infer requests of a model: one of its layers, with the KV cache bound, one of its head.

    Steps have at most `max_num_tokens` tokens and, but for log probabilities of prompts,
    `max_num_rows` rows of logits; both are padded up to one of a few sizes.
    """

    def __init__(
        self,
        model: LoadedModel,
        num_blocks: int,
        stats: EngineStats,
        max_num_tokens: int,
        max_num_rows: int,
    ) -> None:
        self._model = model
        self._stats = stats
        self.token_sizes = StepSizes(max_num_tokens)
        self.row_sizes = StepSizes(max_num_rows)
        self._packer = StepPacker(
            self.token_sizes,
            self.row_sizes,
            spare_block=num_blocks,
            has_positions=model.has_position_ids,
        )
        self._prepared: tuple[ScheduledStep, StepInputs] | None = None
        self._tiles = _tiles(model)
        # The last block is for padding.
        self._cache = model.device.make_kv_cache(model.kv_inputs, num_blocks + 1, model.layers)
        try:
            self.reset()
        except BaseException:
            self._cache.close()
            raise

    def reset(self) -> None:
        """Make new infer requests, for example after one failed; the KV contents stay."""
        self._layers = self._model.layers.create_infer_request()
        self._bound: dict[str, npt.NDArray[Any]] = {}
        self._head = self._model.head.create_infer_request()
        for name, tensor in self._cache.tensors.items():
            self._layers.set_tensor(name, tensor)

    def close(self) -> None:
        """Free the model and the KV cache; harmless when they are free already."""
        self._cache.close()
        if hasattr(self, "_model"):
            del self._layers, self._head, self._tiles, self._model

    def prepare(self, step: ScheduledStep) -> None:
        """Pack a step of `Scheduler.foresee`, which may run next, while another one is computed."""
        self._prepared = step, self._packer.lay_out(step)

    def run(self, step: ScheduledStep, beside: Callable[[], None] | None = None) -> StepOutput:
        """Compute a step; `beside` is called while the device computes the layers."""
        started = perf_counter()
        if step.copies:
            self._cache.copy_blocks(step.copies)
        inputs = self._pack(step)
        self._set(inputs)
        packed = perf_counter()
        _infer_beside(self._layers, beside)
        num_rows = len(inputs.complete) + sum(num for _, num in inputs.prompts)
        if num_rows:
            self._infer_head()
        logits = self._logits(num_rows)
        self._stats.pack_s += packed - started
        self._stats.infer_s += perf_counter() - packed
        num_complete = len(inputs.complete)
        prompt_logits = _share_out(logits.select(slice(num_complete, None)), inputs.prompts)
        return StepOutput(inputs.complete, logits.select(slice(num_complete)), prompt_logits)

    def warm_up(self, num_tokens: int) -> float:
        """Run a step of this size, on which nothing depends; returns the seconds it took."""
        num_rows = min(num_tokens, self.row_sizes.sizes[-1], MAX_WARM_UP_ROWS)
        inputs = self._packer.pack_padding(num_tokens, num_rows)
        self._set(inputs)
        started = perf_counter()
        _infer(self._layers)
        self._infer_head()
        self._logits(num_rows)
        return perf_counter() - started

    def _pack(self, step: ScheduledStep) -> StepInputs:
        prepared, self._prepared = self._prepared, None
        if prepared is None or prepared[0] is not step:
            return self._packer.pack(step)
        _, inputs = prepared
        put_tokens(inputs, step)
        self._stats.prepared_steps += 1
        return inputs

    def _set(self, inputs: StepInputs) -> None:
        """Let the next inference read these arrays.

        To bind one takes ten times as long as to copy it into the one that is bound already, which
        most have the shape of, as the sizes of steps are few.
        """
        for name, array in inputs.arrays.items():
            bound = self._bound.get(name)
            if bound is not None and bound.shape == array.shape:
                np.copyto(bound, array)
            else:
                self._layers.set_tensor(name, ov.Tensor(array, shared_memory=True))
                self._bound[name] = array

    def _infer_head(self) -> None:
        self._head.set_input_tensor(self._layers.get_output_tensor(0))
        _infer(self._head)

    def _logits(self, num_rows: int) -> Logits:
        """The rows that the head has just computed, and those after them that are padding."""
        vocab_size = self._model.output.vocab_size
        if num_rows == 0:
            none = np.empty((0, self._tiles.num * self._tiles.size), np.float32)
            return Logits(none, vocab_size, self._tiles)
        scales = self._rows(1)[:, 0] if len(self._model.head.outputs) > 1 else None
        return Logits(self._rows(0), vocab_size, self._tiles, scales)

    def _rows(self, output_index: int) -> npt.NDArray[np.float32]:
        """The rows of an output, without a copy."""
        data = self._head.get_output_tensor(output_index).data
        rows: npt.NDArray[np.float32] = data.reshape(len(data), -1)
        return rows


def _infer(request: ov.InferRequest) -> None:
    """Run a request; its outputs are not copied, as the binding otherwise does."""
    request.infer(share_outputs=True)


def _infer_beside(request: ov.InferRequest, beside: Callable[[], None] | None) -> None:
    """Run a request, and meanwhile a function; the request is over even where that raises."""
    request.start_async()
    try:
        if beside is not None:
            beside()
    finally:
        request.wait()


def _tiles(model: LoadedModel) -> VocabTiles:
    properties = model.device.sampling_properties(model.layers)
    return VocabTiles(model.output.num_tiles, model.output.tile_size, properties)


def _share_out(logits: Logits, prompts: list[PromptRows]) -> list[PromptLogits]:
    """Give each prompt its rows of the logits, which follow one another."""
    shared, start = [], 0
    for gathered, num_rows in prompts:
        shared.append((gathered, logits.select(slice(start, start + num_rows))))
        start += num_rows
    return shared
