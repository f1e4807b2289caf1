"""The output of a step for one choice of a request."""

from collections.abc import Callable
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from typing import overload

from server.engine.pooling import PooledOutput
from server.engine.prompt_logprobs import PromptLogprobs
from server.errors import RequestError
from server.payloads import FinishReason, TokenIdLogprobs


@dataclass(frozen=True, slots=True)
class SequenceOutput:
    """New tokens of one choice, its end, or an error; or what a pooling request has asked for.

    There is one new token, and more where drafts were accepted.

    A beam search gives all tokens of a choice at once. The log probabilities of the prompt come
    with the first output of each choice.
    """

    request_id: int
    index: int
    token_ids: tuple[int, ...] = ()
    logprobs: Rows[TokenIdLogprobs] | None = None
    finish_reason: FinishReason | None = None
    num_cached_tokens: int = 0
    prompt_logprobs: PromptLogprobs | None = None
    error: RequestError | None = None
    pooled: PooledOutput | None = None


class LaterLogprobs(Rows[TokenIdLogprobs]):
    """Log probabilities of new tokens, each found by a call."""

    __slots__ = ("_find",)

    def __init__(self, find: Rows[Callable[[], TokenIdLogprobs]]) -> None:
        self._find = find

    def __len__(self) -> int:
        return len(self._find)

    @overload
    def __getitem__(self, index: int) -> TokenIdLogprobs: ...

    @overload
    def __getitem__(self, index: slice) -> Rows[TokenIdLogprobs]: ...

    def __getitem__(self, index: int | slice) -> TokenIdLogprobs | Rows[TokenIdLogprobs]:
        if isinstance(index, slice):
            return [find() for find in self._find[index]]
        return self._find[index]()
