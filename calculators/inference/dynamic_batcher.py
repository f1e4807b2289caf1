"""Runs requests that wait at the same time as the rows of one, as Triton's dynamic batcher does.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/batcher.md
"""

import asyncio
from bisect import insort
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from calculators.inference.batch_tensors import (
    batch_key,
    join_rows,
    num_bytes_of,
    num_rows_of,
    split_rows,
)
from calculators.inference.inference_pool import InferencePool
from server.errors import RequestError, copy_error
from server.graph import UNCOUNTED, Ticket
from server.payloads import InferResponse
from server.tensors import Tensor

__all__ = ["BatchLimits", "DynamicBatcher"]

Outputs = Sequence[tuple[str, int]]
"""Name and index of each output that a request wants."""
Infer = Callable[[Sequence[Tensor], Outputs, Any], InferResponse]
"""Runs the model on an infer request, in the thread of the caller."""
Outcome = InferResponse | Exception


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How many rows a batch has at most, and how long the first request of it waits for others."""

    max_batch_size: int
    max_queue_delay_s: float


@dataclass(eq=False, slots=True)
class _Request:
    inputs: Sequence[Tensor]
    outputs: Outputs
    num_rows: int
    key: Hashable
    deadline: float
    ticket: Ticket
    round: int
    done: "asyncio.Future[InferResponse]"


@dataclass(eq=False, slots=True)
class _Batch:
    requests: list[_Request] = field(default_factory=list)
    task: "asyncio.Task[None] | None" = None


class DynamicBatcher:
    """Queues requests and runs them in batches, as many at a time as there are infer requests.

    A batch starts when it is full, when its first request has waited for the delay, and never
    before an infer request is free. All of it but the inference runs on one event loop.
    """

    def __init__(
        self, pool: InferencePool, num_requests: int, infer: Infer, limits: BatchLimits
    ) -> None:
        self._pool = pool
        self._num_free = num_requests
        self._infer = infer
        self._limits = limits
        # Of each key a list, so that forming a batch is quick: by rounds, then in order of arrival.
        self._waiting: dict[Hashable, list[_Request]] = {}
        self._num_waiting = 0
        # A round has one request of each client: the round of the last batch, and the last one
        # that each client has a request in.
        self._round = 0
        self._rounds: dict[str, int] = {}
        self._num_batches = 0
        self._num_requests = 0
        self._timer: asyncio.TimerHandle | None = None

    def status(self) -> dict[str, object]:
        """How many requests have run, in how many batches, and how many wait."""
        return {
            "batches": self._num_batches,
            "batched_requests": self._num_requests,
            "waiting_requests": self._num_waiting,
        }

    async def run(
        self, inputs: Sequence[Tensor], outputs: Outputs, ticket: Ticket = UNCOUNTED
    ) -> InferResponse:
        """The answer to one request. Raises RequestError."""
        num_rows = num_rows_of(inputs)
        if num_rows is None or num_rows > self._limits.max_batch_size:
            work = partial(self._infer, inputs, outputs)
            return await self._pool.run(work, ticket, num_bytes_of(inputs))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.max_queue_delay_s
        request = _Request(
            inputs,
            outputs,
            num_rows,
            batch_key(inputs),
            deadline,
            ticket,
            self._next_round(ticket.client),
            loop.create_future(),
        )
        insort(self._waiting.setdefault(request.key, []), request, key=_by_round)
        self._num_waiting += 1
        self._start_batches()
        try:
            return await request.done
        finally:
            self._forget(request)

    def _next_round(self, client: str) -> int:
        if not self._num_waiting:
            self._rounds.clear()
        found = max(self._round, self._rounds.get(client, -1) + 1)
        self._rounds[client] = found
        return found

    def _start_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while self._num_free and (requests := self._next_batch(loop.time())):
            self._num_free -= 1
            self._num_batches += 1
            self._num_requests += len(requests)
            batch = _Batch(requests)
            batch.task = loop.create_task(self._run_batch(batch))
            for request in requests:
                request.done.add_done_callback(partial(self._notice_done, batch))
        self._set_timer()

    def _next_batch(self, now: float) -> list[_Request]:
        """Take the requests of the next batch; none if all may wait for others."""
        queues = sorted(self._waiting.values(), key=lambda r: (r[0].round, r[0].deadline))
        for requests in queues:
            num_taken = self._num_fitting(requests)
            if num_taken == len(requests) and _deadline(requests) > now:
                rows = sum(request.num_rows for request in requests)
                if rows < self._limits.max_batch_size:
                    continue
            taken, rest = requests[:num_taken], requests[num_taken:]
            self._num_waiting -= len(taken)
            self._round = max(self._round, taken[0].round)
            for request in taken:
                request.ticket.start_all()
            if rest:
                self._waiting[taken[0].key] = rest
            else:
                del self._waiting[taken[0].key]
            return taken
        return []

    def _num_fitting(self, requests: Sequence[_Request]) -> int:
        rows = 0
        for number, request in enumerate(requests):
            rows += request.num_rows
            if rows > self._limits.max_batch_size:
                return number
        return len(requests)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._num_free and self._waiting:
            when = min(map(_deadline, self._waiting.values()))
            self._timer = asyncio.get_running_loop().call_at(when, self._start_batches)

    def _forget(self, request: _Request) -> None:
        """Take a request out of the queue whose caller has left."""
        requests = self._waiting.get(request.key, [])
        if request in requests:
            requests.remove(request)
            self._num_waiting -= 1
            if not requests:
                del self._waiting[request.key]
            self._set_timer()

    def _notice_done(self, batch: _Batch, _: object) -> None:
        """Stop a batch whose callers have all left."""
        if batch.task is not None and all(request.done.done() for request in batch.requests):
            batch.task.cancel()

    async def _run_batch(self, batch: _Batch) -> None:
        requests = batch.requests
        try:
            size = sum(num_bytes_of(request.inputs) for request in requests)
            outcomes = await self._pool.run(partial(self._infer_all, requests), size=size)
        except asyncio.CancelledError:
            outcomes = []
        except Exception as error:  # the pool is being closed, for example
            outcomes = [error] * len(requests)
        finally:
            self._num_free += 1
        batch.task = None
        for request, outcome in zip(requests, outcomes, strict=False):
            if request.done.done():
                continue
            if isinstance(outcome, Exception):
                request.done.set_exception(copy_error(outcome))
            else:
                request.done.set_result(outcome)
        self._start_batches()

    def _infer_all(self, requests: Sequence[_Request], infer_request: Any) -> Sequence[Outcome]:
        """The outcome of each request; in a thread of the pool."""
        if len(requests) > 1:
            try:
                return self._infer_joined(requests, infer_request)
            except (RequestError, ValueError):
                # One of them may be the reason, and the others must not get its error.
                pass
        return [self._infer_one(request, infer_request) for request in requests]

    def _infer_joined(
        self, requests: Sequence[_Request], infer_request: Any
    ) -> Sequence[InferResponse]:
        outputs = list(
            {index: (name, index) for r in requests for name, index in r.outputs}.values()
        )
        response = self._infer(join_rows([r.inputs for r in requests]), outputs, infer_request)
        counts = [request.num_rows for request in requests]
        rows = {
            index: split_rows(tensor, counts)
            for (_, index), tensor in zip(outputs, response.outputs, strict=True)
        }
        return [
            InferResponse(tuple(_named(rows[index][i], name) for name, index in request.outputs))
            for i, request in enumerate(requests)
        ]

    def _infer_one(self, request: _Request, infer_request: Any) -> Outcome:
        try:
            return self._infer(request.inputs, request.outputs, infer_request)
        except Exception as error:
            return error


def _by_round(request: _Request) -> int:
    return request.round


def _deadline(requests: Sequence[_Request]) -> float:
    return min(request.deadline for request in requests)


def _named(tensor: Tensor, name: str) -> Tensor:
    return Tensor(name, tensor.datatype, tensor.shape, tensor.data)
