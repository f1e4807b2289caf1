"""Batches the rows of many requests for one encoder."""

import asyncio
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Protocol

from calculators.encoders.batch_planning import plan_batches
from calculators.encoders.encoder_service import EncoderRow, Vector
from calculators.encoders.row_queue import Call, QueuedRow, RowQueue
from calculators.inference.watched_threads import WatchedThreads
from server.errors import ContextLengthError, InvalidRequestError, ModelNotReadyError
from server.graph import UNCOUNTED, Ticket
from server.host.metrics import ENGINES, EngineLoad, EngineStats

__all__ = ["BatchRunner", "EncoderBatcher"]


class BatchRunner(Protocol):
    """What the batcher needs of a model; threads share it."""

    num_streams: int
    max_length: int
    vocab_size: int | None
    gives_tokens: bool

    def infer(self, rows: Sequence[EncoderRow]) -> Sequence[Vector | Exception]:
        """Run one batch; each row gets its output, or why it has none."""

    def status(self) -> Mapping[str, Any]:
        """Facts for operators."""

    def health(self) -> str | None:
        """Why the device cannot be used any more; None if it can."""

    def close(self) -> None:
        """Free the model."""


class EncoderBatcher:
    """An EncoderService: rows go to the device as soon as it is idle, and wait together until then.

    So a lone request never waits for others, and while the device is busy a batch grows by itself.
    `token_budget` is how many tokens, padding included, an inference has at most; a longer row
    runs alone. Metrics count its rows as requests of the model `served_name`; "" is no model.
    """

    def __init__(
        self, model: BatchRunner, name: str, token_budget: int, served_name: str = ""
    ) -> None:
        self._model = model
        self._token_budget = token_budget
        self._queue = RowQueue(model.max_length)
        self._planned: deque[list[QueuedRow]] = deque()
        self._num_idle = model.num_streams
        self._is_woken = False
        self._is_closed = False
        self._num_batches = self._num_rows = self._num_tokens = self._num_running = 0
        self._stats = EngineStats(model.max_length)
        self._counted = ENGINES.add(served_name, self._stats, self._load)
        self._threads = WatchedThreads(model.num_streams, name)

    async def run(
        self, rows: Sequence[EncoderRow], ticket: Ticket = UNCOUNTED, cache_salt: str = ""
    ) -> list[Vector]:
        """See EncoderService.run. Nothing is used again."""
        if not rows:
            return []
        self._check(rows)
        num_tokens = sum(map(len, rows))
        ticket.add_tokens(num_tokens)
        began_s = perf_counter()
        call = Call(rows, ticket)
        self._queue.add(call, num_tokens)
        self._wake()
        try:
            return await call.result
        finally:
            # If it was cancelled, or one of its rows has failed.
            self._queue.discard(call)
            self._stats.whole.observe(perf_counter() - began_s, len(rows))

    def status(self) -> Mapping[str, Any]:
        """The model, what waits and runs, and the sums since it was loaded."""
        return {
            **self._model.status(),
            "max_length": self._model.max_length,
            "num_waiting_rows": self._queue.num_rows,
            "num_waiting_tokens": self._queue.num_tokens,
            "num_running_batches": self._model.num_streams - self._num_idle,
            "num_batches": self._num_batches,
            "num_rows": self._num_rows,
            "num_tokens": self._num_tokens,
        }

    def health(self) -> str | None:
        """Why the device cannot be used any more; None if it can."""
        return self._threads.failure or self._model.health()

    def needs_reload(self) -> bool:
        """Whether an inference hangs, so that only another batcher can serve."""
        return self._threads.failure is not None

    def close(self) -> None:
        """Wait for the inferences that run, and free the model; one that hangs keeps it."""
        self._is_closed = True
        ENGINES.remove(self._counted)
        if self._threads.close():
            self._model.close()

    def _check(self, rows: Sequence[EncoderRow]) -> None:
        if self._is_closed:
            raise ModelNotReadyError("the model was closed")
        if self._threads.failure is not None:
            raise ModelNotReadyError(self._threads.failure)
        for row in rows:
            _check_row(row, self._model)

    def _wake(self) -> None:
        """Start batches after the tasks that are ready now: some of them may bring more rows."""
        if not self._is_woken:
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._start_batches)

    def _start_batches(self) -> None:
        self._is_woken = False
        if self._is_closed or self._threads.failure is not None:
            self._refuse_waiting(self._threads.failure or "the model was closed")
        while self._num_idle and (batch := self._next_batch()):
            self._num_idle -= 1
            self._num_running += len(batch)
            work = self._threads.submit(
                partial(self._model.infer, [queued.row for queued in batch]),
                sum(queued.padded_length for queued in batch),
            )
            work.add_done_callback(partial(self._finish, batch))

    def _refuse_waiting(self, reason: str) -> None:
        planned = [queued for batch in self._planned for queued in batch]
        self._planned.clear()
        for queued in (*planned, *self._queue.take(sys.maxsize)):
            queued.call.finish(queued.index, ModelNotReadyError(reason))

    def _next_batch(self) -> list[QueuedRow]:
        """The rows of the next inference that are still wanted; empty if nothing waits."""
        while True:
            if not self._planned:
                self._plan()
            if not self._planned:
                return []
            batch = [queued for queued in self._planned.popleft() if queued.is_wanted]
            if batch:
                return batch

    def _plan(self) -> None:
        """Plan one batch for each idle stream, or more where lengths differ much."""
        rows = self._queue.take(self._token_budget * self._num_idle)
        num_padded = sum(queued.padded_length for queued in rows)
        # A single batch would leave the other streams idle.
        budget = min(self._token_budget, -(-num_padded // self._num_idle))
        lengths = [queued.padded_length for queued in rows]
        self._planned.extend(
            [rows[index] for index in indices] for indices in plan_batches(lengths, budget)
        )

    def _load(self) -> EngineLoad:
        """For metrics; there is no KV cache."""
        return EngineLoad(
            num_running=self._num_running,
            num_waiting=self._queue.num_rows + sum(map(len, tuple(self._planned))),
            num_used_blocks=0,
            num_blocks=0,
            block_size=0,
            max_num_seqs=0,
            max_num_batched_tokens=self._token_budget,
            max_model_len=self._model.max_length,
            enable_prefix_caching=False,
        )

    def _count(self, batch: Sequence[QueuedRow], outputs: Sequence[Vector | Exception]) -> None:
        self._stats.num_steps += 1
        self._stats.step_tokens.observe(sum(len(queued.row) for queued in batch))
        for queued, output in zip(batch, outputs, strict=True):
            self._stats.finished["error" if isinstance(output, Exception) else "stop"] += 1
            self._stats.prompt_tokens += len(queued.row)
            self._stats.prompt_sizes.observe(len(queued.row))

    def _finish(
        self, batch: Sequence[QueuedRow], work: "asyncio.Future[Sequence[Vector | Exception]]"
    ) -> None:
        self._num_idle += 1
        self._num_batches += 1
        self._num_rows += len(batch)
        self._num_running -= len(batch)
        self._num_tokens += sum(len(queued.row) for queued in batch)
        if work.cancelled():
            outputs: Sequence[Vector | Exception] = [
                ModelNotReadyError("the model was closed") for _ in batch
            ]
        elif (error := work.exception()) is not None:
            if not isinstance(error, Exception):
                # A library may call sys.exit. The callers would wait for ever.
                error = RuntimeError(f"{type(error).__name__}: {error}")
            outputs = [error] * len(batch)
        else:
            outputs = work.result()
        self._count(batch, outputs)
        for queued, output in zip(batch, outputs, strict=True):
            queued.call.finish(queued.index, output)
        self._start_batches()


def _check_row(row: EncoderRow, model: BatchRunner) -> None:
    """Raise InvalidRequestError for a row that the model cannot take."""
    if not row.token_ids:
        raise InvalidRequestError("a text has no tokens, so there is nothing to compute")
    if len(row) > model.max_length:
        problem = f"Input length {len(row)} longer than allowed {model.max_length}"
        raise ContextLengthError(problem)
    smallest, largest, vocab_size = min(row.token_ids), max(row.token_ids), model.vocab_size
    if smallest < 0 or (vocab_size is not None and largest >= vocab_size):
        wrong = smallest if smallest < 0 else largest
        possible = "at least 0" if vocab_size is None else f"from 0 to {vocab_size - 1}"
        raise InvalidRequestError(f"token id {wrong} is unknown to the model; possible: {possible}")
    if row.of_tokens and not model.gives_tokens:
        raise InvalidRequestError(
            "this model has no vectors of single tokens: it pools them itself"
        )
