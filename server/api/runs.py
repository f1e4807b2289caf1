"""The graph runs behind one HTTP request: one for each prompt, or a single one."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeVar

from server.api.monitoring.ovms_numbers import OVMS, RunKey
from server.api.request_facts import RequestFacts
from server.errors import GenerationError
from server.graph import Admission, Graph, ServedGraph
from server.payloads import ClientRequest, GenerationRequest, InferRequest, TextChunk

__all__ = ["run_once", "start_run", "start_runs"]

T = TypeVar("T")

QUEUE_SIZE = 16
STARTED_AT_ONCE = 8


async def run_once(
    graph: ServedGraph, packet: ClientRequest, kind: type[T], facts: RequestFacts
) -> T:
    """The only packet, of this kind, that the graph answers with. Raises GenerationError."""
    async with start_run(graph, packet, facts) as run:
        async for response in run:
            assert isinstance(response, kind)
            return response
    raise GenerationError("the graph ended without an answer")


def start_run(
    graph: ServedGraph,
    packet: ClientRequest,
    facts: RequestFacts,
    parameters: Mapping[str, object] | None = None,
) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
    """A run for the client of a request."""
    (packet,) = facts.claim([packet])
    return OVMS.count(graph.start_run(packet, parameters or {}), _key(graph, packet, facts))


def start_runs(
    graph: ServedGraph,
    prompts: Sequence[GenerationRequest],
    num_choices: int,
    facts: RequestFacts,
) -> AbstractAsyncContextManager[AsyncIterator[TextChunk]]:
    """Run every prompt at once; choice i of prompt p comes out as p * num_choices + i."""
    prompts = facts.claim(prompts)
    key = _key(graph, prompts[0], facts)
    if len(prompts) == 1:
        return OVMS.count(graph.start_run(prompts[0]), key)
    return OVMS.count(_MergedRuns(graph, prompts, num_choices), key)


def _key(graph: ServedGraph, packet: ClientRequest, facts: RequestFacts) -> RunKey:
    """What Model Server's metrics call a run."""
    if isinstance(packet, InferRequest):
        api, method = facts.api or "KServe", facts.method or "ModelInfer"
        return RunKey(graph.name, api, facts.interface, method)
    return RunKey(graph.name, "V3", facts.interface, facts.method or "Unary")


class _MergedRuns:
    """Several runs as one stream. The first error, or leaving the context, stops them all.

    They are admitted together. Raises QueueFullError.
    """

    def __init__(
        self, graph: ServedGraph, prompts: Sequence[GenerationRequest], num_choices: int
    ) -> None:
        self._graph = graph
        self._prompts = prompts
        self._num_choices = num_choices
        # A chunk, the error of a run, or None when a run has ended.
        self._queue = asyncio.Queue[TextChunk | Exception | None](QUEUE_SIZE)
        self._num_active = len(prompts)
        self._tasks: list[asyncio.Task[None]] = []
        self._hold = AsyncExitStack()

    async def __aenter__(self) -> "_MergedRuns":
        # Once for all prompts: they wait as one request, and none is left behind when others load.
        async with AsyncExitStack() as stack:
            graph = await stack.enter_async_context(self._graph.hold())
            admission = stack.enter_context(graph.admit(self._prompts))
            self._hold = stack.pop_all()
        try:
            for number, prompt in enumerate(self._prompts):
                self._tasks.append(
                    asyncio.create_task(self._pump(graph, admission, number, prompt))
                )
                # Each start takes half a millisecond, and others wait while all begin together.
                if number % STARTED_AT_ONCE == 0:
                    await asyncio.sleep(0)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        async with self._hold:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def __aiter__(self) -> "_MergedRuns":
        return self

    async def __anext__(self) -> TextChunk:
        while self._num_active:
            item = await self._queue.get()
            if isinstance(item, Exception):
                raise item
            if item is not None:
                return item
            self._num_active -= 1
        raise StopAsyncIteration

    async def _pump(
        self, graph: Graph, admission: Admission, number: int, prompt: GenerationRequest
    ) -> None:
        first = number * self._num_choices
        end: Exception | None = None
        try:
            async with graph.start_run(prompt, admission=admission) as run:
                async for chunk in run:
                    await self._queue.put(dataclasses.replace(chunk, index=first + chunk.index))
        except Exception as error:
            end = error
        await self._queue.put(end)
