"""Checks what a request asks for, and gives it a number."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from server.engine.adapters.adapter_store import Adapter, AdapterStore
from server.engine.pooling import Pooling
from server.engine.requests.limits import RequestLimits
from server.engine.sequence import EngineRequest
from server.engine.token_constraint import TokenConstraint
from server.errors import InvalidRequestError, ModelNotFoundError
from server.payloads import SamplingParams

POOLING_PARAMS = SamplingParams(max_tokens=0)


@dataclass(frozen=True, slots=True)
class RequestFactory:
    """Makes the requests of one engine; thread-safe, as it only reads what is fixed at load.

    `eos_token_ids` end an answer. Texts of more than `long_after` tokens have rope factors of their
    own, where it is not None. Without `has_head` the model gives no logits. Requests may name one
    of its `adapters`, where it has any.
    """

    limits: RequestLimits
    eos_token_ids: frozenset[int]
    long_after: int | None
    has_head: bool
    adapters: AdapterStore | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    def make(
        self,
        prompt_token_ids: Iterable[int],
        params: SamplingParams,
        priority: int = 0,
        cache_salt: bytes = b"",
        constraint: TokenConstraint | None = None,
        client: str = "",
        on_start: Callable[[], None] | None = None,
        adapter: str = "",
    ) -> EngineRequest:
        """A request for new tokens, of the model itself or of one of its adapters.

        Raises ContextLengthError if it can never fit, InvalidRequestError for an unknown token id
        or too many choices, ModelNotFoundError for an unknown adapter.
        """
        self._check_head()
        self._check_generates()
        tokens = self.limits.check_prompt(prompt_token_ids)
        self.limits.check_token_ids(params)
        max_tokens = self.limits.resolve_max_tokens(len(tokens), params)
        self.limits.check_prompt_logprobs(params)
        if constraint is not None and params.num_beams > 1:
            raise InvalidRequestError(
                f"num_beams is {params.num_beams}; beam search cannot follow a grammar, a schema "
                "or a thinking budget",
                "num_beams",
            )
        if params.num_beams > 1 and self.long_after is not None:
            self.limits.check_beams_stay_short(len(tokens), max_tokens, self.long_after)
        can_complete = constraint is not None and constraint.can_complete
        has_own_ends = can_complete or not params.ignore_eos
        own_ends = self.eos_token_ids if has_own_ends else frozenset()
        return EngineRequest(
            next(self._numbers),
            tokens,
            params,
            max_tokens,
            end_token_ids=own_ends.union(params.stop_token_ids),
            priority=priority,
            client=client,
            on_start=on_start,
            cache_salt=cache_salt,
            constraint=constraint,
            long_after=self.long_after,
            has_encoder=self.limits.encoder is not None,
            adapter=self._find_adapter(adapter),
        )

    def make_pooling(
        self,
        prompt_token_ids: Iterable[int],
        token_ids: Iterable[int] | None = None,
        priority: int = 0,
        cache_salt: bytes = b"",
        client: str = "",
        on_start: Callable[[], None] | None = None,
    ) -> EngineRequest:
        """A request for the logits of `token_ids` at the end of a prompt, or the hidden state.

        Raises ContextLengthError if the prompt can never fit, InvalidRequestError for an unknown
        token id, or where the model cannot give what is asked for.
        """
        if self.limits.encoder is not None:
            raise InvalidRequestError(
                "this model has an encoder for its prompts; only a decoder alone gives hidden "
                "states and logits at the end of a prompt"
            )
        tokens = self.limits.check_prompt(prompt_token_ids)
        self.limits.resolve_max_tokens(len(tokens), POOLING_PARAMS)
        named = None
        if token_ids is not None:
            self._check_head()
            named = np.fromiter(token_ids, np.int64)
            unknown = named[(named < 0) | (named >= self.limits.num_logits)]
            if len(unknown):
                raise InvalidRequestError(
                    f"token_ids has {int(unknown[0])}; the model has logits of 0 to "
                    f"{self.limits.num_logits - 1}",
                    "token_ids",
                )
        return EngineRequest(
            next(self._numbers),
            tokens,
            POOLING_PARAMS,
            0,
            priority=priority,
            client=client,
            on_start=on_start,
            cache_salt=cache_salt,
            pooling=Pooling(named),
            long_after=self.long_after,
        )

    def _find_adapter(self, name: str) -> Adapter | None:
        if not name:
            return None
        if self.adapters is None:
            raise ModelNotFoundError(f"there is no adapter {name[:100]!r}: this model takes none")
        return self.adapters.find(name)

    def _check_generates(self) -> None:
        if self.limits.num_logits < self.limits.vocab_size:
            raise InvalidRequestError(
                f"this model is a classifier with {self.limits.num_logits} scores; it gives no "
                "tokens"
            )

    def _check_head(self) -> None:
        if not self.has_head:
            raise InvalidRequestError(
                "this model gives hidden states only; it was loaded without an output head, which "
                "tokens and their logits come from"
            )
