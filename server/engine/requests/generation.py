"""One running request as its asyncio reader sees it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace

from server.engine.pooling import PooledOutput
from server.engine.prompt_logprobs import PromptLogprobs
from server.engine.requests.outputs import SequenceOutput
from server.engine.sequence import EngineRequest
from server.errors import RequestError, copy_error
from server.payloads import FinishReason, TokenIdLogprobs

MAX_LOGPROBS_AT_ONCE = 32
"""Tokens with log probabilities that a reader gets at once; each may have 20 alternatives."""


@dataclass(slots=True)
class ChoiceOutput:
    """New tokens of one choice: usually one, more if the reader was slower than the engine.

    A pooling request has one output, without tokens.
    """

    index: int
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenIdLogprobs] | None = None
    finish_reason: FinishReason | None = None
    num_cached_tokens: int = 0
    prompt_logprobs: PromptLogprobs | None = None
    pooled: PooledOutput | None = None


def _parts(output: ChoiceOutput) -> Iterator[ChoiceOutput]:
    """The output in parts that are quick to describe, if it has log probabilities.

    A beam search has whole answers at its end.
    """
    size = MAX_LOGPROBS_AT_ONCE
    if output.logprobs is None or len(output.logprobs) <= size:
        yield output
        return
    last = (len(output.token_ids) - 1) // size * size
    for start in range(0, last + 1, size):
        yield replace(
            output,
            token_ids=output.token_ids[start : start + size],
            logprobs=output.logprobs[start : start + size],
            finish_reason=output.finish_reason if start == last else None,
            prompt_logprobs=None if start else output.prompt_logprobs,
        )


class OutputCollector:
    """The output of one request that its reader has not taken yet.

    Tokens of a choice are merged, so a slow reader never leaves more than max_tokens waiting.
    """

    def __init__(self, request: EngineRequest) -> None:
        self.request_id = request.request_id
        self.loop = asyncio.get_running_loop()
        self._open_choices = set(range(request.params.n))
        self._pending: dict[int, ChoiceOutput] = {}
        self._error: RequestError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, output: SequenceOutput) -> None:
        """Add output; on the loop's thread. Output of a choice that is over is dropped."""
        if output.index not in self._open_choices:
            return
        if output.error is not None:
            self._error = copy_error(output.error)
        else:
            self._merge(output)
        self.wake()

    def fail(self, error: RequestError) -> None:
        """End the request with an error; on the loop's thread."""
        self._error = copy_error(error)
        self.wake()

    def drop_choice(self, index: int) -> None:
        """Drop a choice that its reader has ended."""
        self._open_choices.discard(index)
        self._pending.pop(index, None)
        self.wake()

    def wake(self) -> None:
        """Wake the reader."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self) -> list[ChoiceOutput]:
        """All new output, or nothing once every choice is over. Raises the request's error."""
        while not self._pending:
            if not self._open_choices:
                return []
            if self._error is not None:
                raise self._error
            self._waiter = self.loop.create_future()
            await self._waiter
        taken, self._pending = self._pending, {}
        self._open_choices -= {i for i, c in taken.items() if c.finish_reason is not None}
        return list(taken.values())

    def _merge(self, output: SequenceOutput) -> None:
        choice = self._pending.get(output.index)
        if choice is None:
            choice = self._pending[output.index] = ChoiceOutput(output.index)
        choice.token_ids += output.token_ids
        if output.prompt_logprobs is not None:
            choice.prompt_logprobs = output.prompt_logprobs
        choice.pooled = output.pooled
        choice.finish_reason = output.finish_reason
        choice.num_cached_tokens = output.num_cached_tokens
        if output.logprobs is not None:
            choice.logprobs = choice.logprobs or []
            choice.logprobs += output.logprobs


class Generation:
    """One running request. Iterate over it for its tokens; `stop_choice` ends a choice early."""

    def __init__(
        self,
        request: EngineRequest,
        collector: OutputCollector,
        abort: Callable[[int, int], None],
    ) -> None:
        self.request = request
        self._collector = collector
        self._abort = abort
        self._stopped: set[int] = set()

    async def __aiter__(self) -> AsyncIterator[ChoiceOutput]:
        while outputs := await self._collector.read():
            for part in (part for output in outputs for part in _parts(output)):
                if part.index not in self._stopped:
                    yield part

    def stop_choice(self, index: int) -> None:
        """End one choice after its first token; the others go on. Harmless if it is over."""
        if index not in self._stopped:
            self._stopped.add(index)
            self._collector.drop_choice(index)
            self._abort(self.request.request_id, index)
