"""Runs many requests through one graph, a bounded number at a time."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

from tqdm import tqdm

from server.errors import GenerationError, ServingError
from server.graph import Graph
from server.llm.outputs import Prompt, RequestOutput, collect
from server.payloads import GenerationRequest

__all__ = ["Batch", "OnError"]

MAX_RUNNING = 512
"""Requests in the engine at once: more than it runs in a batch, so that it never idles."""

OnError = Literal["raise", "return"]


class Batch:
    """Many requests; a bounded number of them is in the graph at a time."""

    def __init__(
        self,
        graph: Graph,
        prompts: Sequence[Prompt],
        requests: Sequence[GenerationRequest],
        bar: "tqdm[Any]",
        on_error: OnError,
    ) -> None:
        self._graph = graph
        self._prompts = prompts
        self._requests = requests
        self._bar = bar
        self._on_error = on_error
        self._remaining = iter(range(len(requests)))
        self._results: dict[int, RequestOutput] = {}

    async def run(self) -> list[RequestOutput]:
        """All results in order. Raises the first error, or returns errors as results."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(MAX_RUNNING, len(self._requests))):
                    group.create_task(self._work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [self._results[number] for number in range(len(self._requests))]

    async def _work(self) -> None:
        for number in self._remaining:
            self._results[number] = await self._answer(number)
            self._bar.update()

    async def _answer(self, number: int) -> RequestOutput:
        prompt, chunks = self._prompts[number], []
        try:
            async with self._graph.start_run(self._requests[number]) as run:
                chunks = [chunk async for chunk in run]
            if not chunks:
                raise GenerationError("the graph ended without an answer")
        except ServingError as error:
            if self._on_error == "raise":
                raise
            return RequestOutput(prompt, error=error)
        return collect(prompt, chunks)
