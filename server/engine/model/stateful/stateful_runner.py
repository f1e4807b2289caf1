"""Runs one step on the stateful IR: each sequence in its own infer request, side by side."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.kv.kv_cache_manager import KVCacheManager
from server.engine.model.logits_head import LogitsHead
from server.engine.model.model_loader import LoadedModel
from server.engine.model.model_runner import NO_ROWS, StepOutput, split_by_prompt
from server.engine.model.stateful.encoder import EncoderRequest
from server.engine.model.stateful.sequence_state import Hidden, SequenceState
from server.engine.model.stateful.state_form import StateForm
from server.engine.model.step_inputs import PromptRows
from server.engine.model.step_sizes import StepSizes
from server.engine.prompt_logprobs import PromptLogprobs
from server.engine.sampling.logits import Logits
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import Sequence
from server.host.memory import RESERVATIONS
from server.host.metrics import EngineStats

Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class _Work:
    """What a step computes for one sequence: `pieces`, one after the other.

    `rows` of them become logits, counted from the first token of the first piece: those of the
    `prompt`, then the last one where the sequence `is_complete`. `hidden` f32[rows, hidden size]
    are found piece by piece.
    """

    sequence: Sequence
    state: SequenceState
    pieces: list[Ints]
    rows: Ints
    is_complete: bool
    prompt: PromptLogprobs | None
    hidden: list[Hidden] = field(default_factory=list)

    @property
    def num_prompt_rows(self) -> int:
        return len(self.rows) - self.is_complete


class StatefulRunner:
    """Does what ModelRunner does for a model without a PagedAttention form.

    A sequence has one KV block, which holds its whole text; its number tells the states of one
    sequence from those of another. They are made when the sequence starts, copied when it forks,
    and freed with the block.
    """

    def __init__(
        self, model: LoadedModel, kv: KVCacheManager, num_bytes: int, stats: EngineStats
    ) -> None:
        assert model.states is not None, "the loader has found states"
        self._model = model
        self._form: StateForm = model.states
        self._stats = stats
        # Nothing is padded; each number of tokens has its own cost.
        self.token_sizes = StepSizes(1)
        self.last_size = 0
        self._states: dict[int, SequenceState] = {}
        self._head = LogitsHead(model)
        self._head.reset()
        self._encoder = None if model.encoder is None else EncoderRequest(model.encoder)
        self._prefix = np.array(() if model.encoder is None else model.encoder.prefix, np.int64)
        kv.pool.on_freed = self._free
        self._num_bytes = num_bytes
        RESERVATIONS.add(num_bytes)

    @property
    def num_states(self) -> int:
        """Sequences that have states."""
        return len(self._states)

    def reset(self) -> None:
        """Make a new infer request for the head; states of failed sequences are freed already."""
        self._head.reset()

    def close(self) -> None:
        """Free the model and the states; may be called again."""
        try:
            self.settle()
        finally:
            RESERVATIONS.remove(self._num_bytes)
            self._num_bytes = 0
            self._states.clear()
            if hasattr(self, "_model"):
                del self._head, self._encoder, self._model

    def prepare(self, step: ScheduledStep) -> None:
        """Nothing can be packed before the step: there are no arrays of all sequences."""

    def settle(self) -> None:
        """Let what waits for the logits of the last step read them; nothing once it is closed."""
        if hasattr(self, "_model"):
            self._head.settle()

    def run(self, step: ScheduledStep, overlapped: Callable[[], None] | None = None) -> StepOutput:
        """Compute a step; `overlapped` is called while the device computes."""
        started = perf_counter()
        for source, destination in step.copies:
            self._copy(source, destination)
        works = [
            self._plan(sequence, num_new)
            for sequence, num_new in zip(step.sequences, step.num_new_tokens, strict=True)
        ]
        self.last_size = step.num_tokens
        packed = perf_counter()
        _compute(works, overlapped)
        output = self._output(works)
        self._stats.pack_s += packed - started
        self._stats.infer_s += perf_counter() - packed
        return output

    def warm_up(self, num_tokens: int) -> float:
        """Run a step of a text that no sequence has; returns the seconds it took."""
        state = self._new_state()
        started = perf_counter()
        tokens = np.zeros(num_tokens, np.int64)
        if self._encoder is not None:
            state.encoded = self._encoder.read(tokens)
        state.start(tokens, np.zeros(1, np.int64))
        state.wait()
        self._logits(state.hidden_rows())
        return perf_counter() - started

    def _copy(self, source: int, destination: int) -> None:
        copy = self._states[destination] = self._new_state()
        # Without its source, a sequence is read again from its first token.
        if source in self._states:
            copy.copy_from(self._states[source])

    def _free(self, block: int) -> None:
        self._states.pop(block, None)

    def _new_state(self) -> SequenceState:
        return SequenceState(self._model.layers, self._form)

    def _plan(self, sequence: Sequence, num_new: int) -> _Work:
        """What is to be computed: all tokens up to the end of the step that the state lacks."""
        block = sequence.block_table[0]
        # A copy may have been made for another sequence, which then lost the block.
        if block not in self._states or sequence.num_computed_tokens == 0:
            self._states[block] = self._new_state()
        state = self._states[block]
        begin, end = state.num_tokens, sequence.num_computed_tokens + num_new
        tokens = self._new_tokens(sequence, state, end)
        prompt = sequence.unread_prompt_logprobs
        is_complete = end >= sequence.num_tokens
        rows = _prompt_rows(sequence, prompt, begin, begin + len(tokens))
        if is_complete:
            rows = np.append(rows, len(tokens) - 1)
        return _Work(sequence, state, self._cut(tokens), rows, is_complete, prompt)

    def _new_tokens(self, sequence: Sequence, state: SequenceState, end: int) -> Ints:
        """What the states lack for the first `end` tokens of a sequence to be computed.

        An encoder reads the prompt as a whole; the decoder reads its prefix and the answer.
        """
        begin = state.num_tokens
        num_prompt = sequence.num_prompt_tokens
        if self._encoder is not None:
            if end < num_prompt:
                return np.zeros(0, np.int64)
            if not state.encoded:
                state.encoded = self._encoder.read(np.array(sequence.token_ids.view(0, num_prompt)))
            answer = sequence.token_ids.view(num_prompt, end)
            return np.concatenate([self._prefix, answer])[begin:]
        # The graph chooses rope factors for all tokens of a step by the last of them.
        if sequence.uses_long_rope and end < self._form.first_tokens:
            return np.zeros(0, np.int64)
        return np.array(sequence.token_ids.view(begin, end))

    def _cut(self, tokens: Ints) -> list[Ints]:
        if self._form.takes_single_tokens:
            return list(tokens[:, None])
        return [tokens] if len(tokens) else []

    def _output(self, works: list[_Work]) -> StepOutput:
        """The logits: first the rows of complete sequences, then those of prompts."""
        complete = [work for work in works if work.is_complete]
        prompts: list[PromptRows] = [
            (work.prompt, work.num_prompt_rows) for work in works if work.prompt is not None
        ]
        rows = [work.hidden[-1][-1:] for work in complete]
        hidden = np.concatenate(rows) if rows else NO_ROWS
        for work in works:
            if work.num_prompt_rows > 0:
                rows.append(np.concatenate(work.hidden)[: work.num_prompt_rows])
        needs_logits = len(rows) > len(complete) or any(
            work.sequence.request.needs_logits for work in complete
        )
        logits = self._logits(np.concatenate(rows)) if needs_logits else self._head.no_rows()
        prompt_logits = split_by_prompt(logits.select(slice(len(complete), None)), prompts)
        sequences = [work.sequence for work in complete]
        of_complete = logits.select(slice(len(complete)))
        return StepOutput(sequences, of_complete, prompt_logits, hidden)

    def _logits(self, hidden: Hidden) -> Logits:
        return self._head.compute(ov.Tensor(hidden[:, None]))


def _prompt_rows(sequence: Sequence, gathered: PromptLogprobs | None, begin: int, end: int) -> Ints:
    """The rows that predict prompt tokens without a log probability so far."""
    if gathered is None:
        return np.zeros(0, np.int64)
    first = max(begin, gathered.num_done)
    return np.arange(first, min(end, sequence.num_prompt_tokens - 1)) - begin


def _compute(works: list[_Work], overlapped: Callable[[], None] | None) -> None:
    """Compute the first pieces of all sequences side by side, then the second ones, and so on."""
    for number in range(max([1, *(len(work.pieces) for work in works)])):
        going_on = [work for work in works if number < len(work.pieces)]
        started: list[_Work] = []
        try:
            for work in going_on:
                work.state.start(work.pieces[number], _rows_of_piece(work, number))
                started.append(work)
            if number == 0 and overlapped is not None:
                overlapped()
        finally:
            _wait(started)
        for work in going_on:
            work.hidden.append(work.state.hidden_rows())


def _rows_of_piece(work: _Work, number: int) -> Ints:
    begin = sum(map(len, work.pieces[:number]))
    end = begin + len(work.pieces[number])
    rows: Ints = work.rows[(work.rows >= begin) & (work.rows < end)] - begin
    return rows


def _wait(works: list[_Work]) -> None:
    """Wait for all, also where one has failed: none may run on."""
    failures = []
    for work in works:
        try:
            work.state.wait()
        except RuntimeError as error:
            failures.append(error)
    if failures:
        raise failures[0]
