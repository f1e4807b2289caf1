"""One choice of a request on its way through the engine, and the request it belongs to."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from enum import Enum, auto
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from server.engine.adapters.adapter_store import Adapter
from server.engine.pooling import Pooling
from server.engine.prompt_logprobs import PromptLogprobs
from server.engine.token_constraint import TokenConstraint
from server.engine.token_mask import TokenMask
from server.errors import RequestError
from server.payloads import SamplingParams

ROOT_PREFIX = 0
"""The identity of the empty prefix; the block pool numbers longer ones."""


class GrowableArray:
    """An int array that appends in constant time; `view()` is numpy without a copy."""

    __slots__ = ("_data", "size")

    def __init__(self, dtype: npt.DTypeLike, values: npt.ArrayLike = ()) -> None:
        initial = np.asarray(values, dtype=dtype)
        self._data = np.empty(max(16, 2 * len(initial)), dtype=dtype)
        self._data[: len(initial)] = initial
        self.size = len(initial)

    def append(self, value: int) -> None:
        """Add one value at the end."""
        if self.size == len(self._data):
            self._data = np.concatenate((self._data, np.empty_like(self._data)))
        self._data[self.size] = value
        self.size += 1

    def truncate(self, size: int) -> None:
        """Forget what comes after the first `size` values."""
        assert 0 <= size <= self.size, "it has at least so many"
        self.size = size

    def extend(self, values: list[int]) -> None:
        """Add values at the end."""
        for value in values:
            self.append(value)

    def view(self, start: int = 0, end: int | None = None) -> npt.NDArray[Any]:
        """The values from `start` to `end`; valid until the next append."""
        return self._data[start : self.size if end is None else end]

    def __getitem__(self, index: int) -> int:
        assert 0 <= index < self.size, "an index counts from the front"
        return int(self._data[index])

    def __setitem__(self, index: int, value: int) -> None:
        assert 0 <= index < self.size, "an index counts from the front"
        self._data[index] = value

    def clear(self) -> None:
        """Forget all values."""
        self.size = 0


@dataclass(eq=False, slots=True)
class EngineRequest:
    """What the engine was asked: a prompt to continue in `params.n` ways.

    `max_tokens` is how many tokens each choice may add. `end_token_ids` end a choice: the model's
    own, unless they are ignored, and those of `params`. Requests of a lower `priority` go first;
    with the same one, each `client` has a fair share. `waited_s` is how long it waited before it
    began to wait last; once it `is_overdue` it goes first. `cache_salt` is part of the identity of
    every prefix. `constraint` is at the start of an answer; every choice has a copy. With
    `has_encoder` the prompt is no part of the text that the answer goes on with. A request with
    `pooling` gets that instead of an answer. Without an `adapter` the model itself answers.
    `on_start` is called in the engine's thread when it waits no longer.
    `bad_words` has the last tokens of bad words by the number of the tokens before, and these.
    Where it `changes_logits`, penalties, biases or bad words may change those of every token.
    The times are of `time.perf_counter`; `num_generated_tokens` are those of all choices that are
    over, and `longest_choice` is the most that one of them has.
    """

    request_id: int
    prompt_token_ids: npt.NDArray[np.int64]
    params: SamplingParams
    max_tokens: int
    end_token_ids: frozenset[int] = frozenset()
    priority: int = 0
    client: str = ""
    cache_salt: bytes = b""
    long_after: int | None = None
    has_encoder: bool = False
    constraint: TokenConstraint | None = None
    pooling: Pooling | None = None
    adapter: Adapter | None = None
    on_start: Callable[[], None] | None = None
    num_cached_tokens: int = 0
    waited_s: float = 0.0
    is_overdue: bool = False
    num_preemptions: int = 0
    num_generated_tokens: int = 0
    longest_choice: int = 0
    arrived_s: float = field(default_factory=perf_counter)
    started_s: float | None = None
    first_token_s: float | None = None
    biased_token_ids: npt.NDArray[np.int64] = field(init=False)
    biases: npt.NDArray[np.float32] = field(init=False)
    allowed: TokenMask | None = field(init=False, default=None)
    bad_words: dict[int, dict[tuple[int, ...], list[int]]] = field(init=False)
    has_penalties: bool = field(init=False)
    changes_logits: bool = field(init=False)
    prompt_logprobs: PromptLogprobs | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        bias = self.params.logit_bias
        self.biased_token_ids = np.fromiter(bias.keys(), np.int64, len(bias))
        self.biases = np.fromiter(bias.values(), np.float32, len(bias))
        self.bad_words = _by_first_tokens(self.params.bad_word_ids)
        self.has_penalties = bool(
            self.params.repetition_penalty != 1.0
            or self.params.frequency_penalty
            or self.params.presence_penalty
        )
        self.changes_logits = self.has_penalties or bool(bias) or bool(self.bad_words)
        if self.params.allowed_token_ids is not None:
            self.allowed = TokenMask(None, among=np.unique(self.params.allowed_token_ids))
        if self.params.prompt_logprobs is not None:
            num_top = self.params.prompt_logprobs
            self.prompt_logprobs = PromptLogprobs(self.prompt_token_ids, num_top)

    @property
    def needs_logits(self) -> bool:
        """Whether the row of its last token must go through the output head."""
        return self.pooling is None or self.pooling.token_ids is not None


def _by_first_tokens(
    words: tuple[tuple[int, ...], ...],
) -> dict[int, dict[tuple[int, ...], list[int]]]:
    """The last tokens of words, by the number of their other tokens and by these tokens."""
    found: dict[int, dict[tuple[int, ...], list[int]]] = {}
    for word in words:
        found.setdefault(len(word) - 1, {}).setdefault(word[:-1], []).append(word[-1])
    return found


@dataclass(eq=False, slots=True)
class StateBlocks:
    """Where the states of a sequence are in a model that has some: convolutions, linear attention.

    `current` holds them after the computed tokens, `following` gets them after the next step; both
    are the same block where nothing else needs the former. `checkpoints` are the blocks that get
    the states after fewer tokens of the next step, by the number of tokens. The KV of the first
    `num_known_tokens` tokens was cached when the sequence started.
    """

    current: int
    following: int
    num_known_tokens: int = 0
    checkpoints: dict[int, int] = field(default_factory=dict)

    @property
    def blocks(self) -> set[int]:
        """All of them."""
        return {self.current, self.following, *self.checkpoints.values()}


class SequenceStatus(Enum):
    """Where a sequence is; only WAITING and RUNNING ones are known to the scheduler."""

    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()


class SequenceGroup(Protocol):
    """Sequences of one request that lose their blocks together."""

    @property
    def sequences(self) -> "list[Sequence]":
        """Those that are in the scheduler."""

    def collapse(self) -> "Sequence":
        """The one sequence that waits in their place after they were removed."""


class Sequence:
    """The tokens of one choice and how far their KV has been computed.

    `num_computed_tokens` tokens have KV in the blocks of `block_table`, and their states in
    `states`, where the model has some. A sequence whose computed
    tokens reach `num_tokens` gets one more token by sampling. The first sequence of a request reads
    the prompt for all its choices; the `num_pending_forks` others fork at the first token. The
    sequences of a beam search have a `group`; which choices they are is known at its end.
    It got its last token at `last_token_s`; 0 before the first.
    Its client was charged for `num_charged_tokens`.
    `mask` is what the constraint and the request forbid as the next token, made in the step that
    leads to it; `error` is why that failed. `proposal_state` is what its proposer of drafts
    knows of it. One that `draws_alone` takes as many random numbers of its own for every token, so
    that its proposer can foresee them.
    """

    __slots__ = (
        "_rng",
        "arrival",
        "block_table",
        "constraint",
        "draws_alone",
        "error",
        "group",
        "has_shared_tail",
        "has_started",
        "index",
        "last_token_s",
        "mask",
        "num_charged_tokens",
        "num_computed_tokens",
        "num_pending_forks",
        "num_prompt_tokens",
        "num_registered_blocks",
        "penalty_counts",
        "prefix",
        "proposal_state",
        "request",
        "states",
        "status",
        "token_ids",
        "uses_long_rope",
    )

    def __init__(self, request: EngineRequest, index: int = 0, arrival: int = 0) -> None:
        self.request = request
        self.index = index
        self.arrival = arrival
        self.token_ids = GrowableArray(np.int64, request.prompt_token_ids)
        self.num_prompt_tokens = len(request.prompt_token_ids)
        self.uses_long_rope = self.is_long
        self.num_computed_tokens = 0
        self.num_charged_tokens = 0
        self.block_table = GrowableArray(np.int32)
        self.states: StateBlocks | None = None
        self.num_registered_blocks = 0
        self.num_pending_forks = request.params.num_sequences - 1 if index == 0 else 0
        self.group: SequenceGroup | None = None
        self.has_shared_tail = False
        self.has_started = False
        self.last_token_s = 0.0
        self.prefix = ROOT_PREFIX
        self.status = SequenceStatus.WAITING
        self._rng: np.random.Generator | None = None
        self.penalty_counts: PenaltyCounts | None = None
        self.proposal_state: object | None = None
        self.draws_alone = False
        self.constraint = None if request.constraint is None else request.constraint.fork()
        self.mask: TokenMask | None = None
        self.error: RequestError | None = None

    @property
    def num_tokens(self) -> int:
        """Prompt and generated tokens."""
        return self.token_ids.size

    @property
    def is_long(self) -> bool:
        """Whether the sequence has more tokens than the short rope factors are for."""
        long_after = self.request.long_after
        return long_after is not None and self.num_tokens > long_after

    @property
    def prefix_salt(self) -> bytes:
        """What tells its prefix from an equal one: an adapter or other factors make other keys."""
        adapter = self.request.adapter
        identity = b"" if adapter is None else adapter.identity
        long_rope = b"\0long rope" if self.uses_long_rope else b""
        return identity + self.request.cache_salt + long_rope

    @property
    def num_generated_tokens(self) -> int:
        """Tokens that the engine added."""
        return self.token_ids.size - self.num_prompt_tokens

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens without KV yet: 1 while decoding, more while the prompt is read."""
        return self.token_ids.size - self.num_computed_tokens

    @property
    def unread_prompt_logprobs(self) -> PromptLogprobs | None:
        """Log probabilities of the prompt that still need logits; None if there are none."""
        gathered = self.request.prompt_logprobs
        return None if gathered is None or gathered.is_complete else gathered

    def append(self, token: int) -> None:
        """Add a token that the engine chose."""
        self.token_ids.append(token)
        if self.penalty_counts is not None:
            self.penalty_counts.add(token)

    def take_back(self, count: int) -> None:
        """Undo the last `count` calls of `append`."""
        size = self.token_ids.size - count
        if self.penalty_counts is not None:
            for token in self.token_ids.view(size)[::-1].tolist():
                self.penalty_counts.take_back(token)
        self.token_ids.truncate(size)

    def copy(self) -> "Sequence":
        """A sequence of the same group with the same tokens, none of them computed."""
        copied = Sequence(self.request, self.index, self.arrival)
        copied.token_ids = GrowableArray(np.int64, self.token_ids.view())
        copied.num_pending_forks = 0
        copied.uses_long_rope = self.uses_long_rope
        copied.group = self.group
        if self.penalty_counts is not None:
            copied.penalty_counts = self.penalty_counts.copy()
        return copied

    @property
    def rng(self) -> np.random.Generator:
        """The sequence's own generator: its numbers do not depend on the rest of the batch."""
        if self._rng is None:
            seed = self.request.params.seed
            # A generator takes no negative numbers.
            entropy = None if seed is None else (seed % 2**64, self.index)
            self._rng = np.random.Generator(np.random.PCG64(entropy))
        return self._rng

    def reset_computed(self) -> None:
        """Forget the KV; it is computed again from the tokens."""
        self.block_table.clear()
        self.states = None
        self.num_computed_tokens = 0
        self.num_registered_blocks = 0
        self.has_shared_tail = False
        self.prefix = ROOT_PREFIX


class PenaltyCounts:
    """Distinct tokens of a sequence and how often each was generated, kept up to date by append."""

    def __init__(self, sequence: Sequence) -> None:
        num_prompt = 0 if sequence.request.has_encoder else sequence.num_prompt_tokens
        distinct = np.unique(sequence.token_ids.view(0, num_prompt))
        self.token_ids = GrowableArray(np.int64, distinct)
        self.generated = GrowableArray(np.int64, np.zeros(len(distinct), np.int64))
        self._slots = {int(token): slot for slot, token in enumerate(distinct)}
        self._num_of_prompt = len(distinct)
        for token in sequence.token_ids.view(sequence.num_prompt_tokens):
            self.add(int(token))

    def add(self, token: int) -> None:
        """Count one generated token."""
        slot = self._slots.get(token)
        if slot is None:
            slot = self._slots[token] = self.token_ids.size
            self.token_ids.append(token)
            self.generated.append(0)
        self.generated[slot] = self.generated[slot] + 1

    def copy(self) -> "PenaltyCounts":
        """Counts that go on independently."""
        copied = copy(self)
        copied.token_ids = GrowableArray(np.int64, self.token_ids.view())
        copied.generated = GrowableArray(np.int64, self.generated.view())
        copied._slots = self._slots.copy()
        return copied

    def take_back(self, token: int) -> None:
        """Undo the last `add`, which was of this token."""
        slot = self._slots[token]
        self.generated[slot] = self.generated[slot] - 1
        if self.generated[slot] == 0 and slot >= self._num_of_prompt:
            assert slot == self.token_ids.size - 1, "new tokens are taken back in reverse order"
            del self._slots[token]
            self.token_ids.truncate(slot)
            self.generated.truncate(slot)
