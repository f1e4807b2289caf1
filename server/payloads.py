"""What travels on graph borders and between nodes. Standard library only."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from server.errors import InvalidRequestError

__all__ = [
    "FinishReason",
    "GenerationRequest",
    "HttpRequestPayload",
    "HttpResponsePayload",
    "SamplingFields",
    "SamplingParams",
    "TextChunk",
    "TokenChunk",
    "TokenIdLogprobs",
    "TokenLogprobs",
    "TokenizedPrompt",
]

FinishReason = Literal["stop", "length"]

MAX_SEED = 2**32 - 1
MAX_TOP_LOGPROBS = 20
MAX_CHOICES = 128


class SamplingFields(TypedDict, total=False):
    """The fields of SamplingParams that somebody set; a missing key means unset."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    seed: int
    n: int
    logprobs: int
    ignore_eos: bool


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the tokens of one request are chosen; InvalidRequestError for a value out of range.

    `temperature` 0 is greedy. `top_k` -1 and 0 keep all tokens. `logprobs` is the number of
    alternatives reported beside each chosen token; None reports nothing. `max_tokens` None goes on
    to the end of the model's context.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    n: int = 1
    logprobs: int | None = None
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        if self.max_tokens is not None:
            _check_range("max_tokens", self.max_tokens, 1, None)
        _check_range("temperature", self.temperature, 0.0, 2.0)
        _check_range("top_k", self.top_k, -1, None)
        _check_range("top_p", self.top_p, 0.0, 1.0)
        _check_range("min_p", self.min_p, 0.0, 1.0)
        _check_range("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        _check_range("presence_penalty", self.presence_penalty, -2.0, 2.0)
        if self.seed is not None:
            _check_range("seed", self.seed, 0, MAX_SEED)
        _check_range("n", self.n, 1, MAX_CHOICES)
        if self.logprobs is not None:
            _check_range("logprobs", self.logprobs, 0, MAX_TOP_LOGPROBS)
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            raise InvalidRequestError(
                f"repetition_penalty is {self.repetition_penalty}; it must be greater than 0",
                "repetition_penalty",
            )

    @property
    def is_greedy(self) -> bool:
        """Whether each token is the most likely one, with no randomness."""
        return self.temperature == 0.0


def _check_range(name: str, value: float, low: float, high: float | None) -> None:
    # NaN fails both comparisons, so the test is written as "not inside".
    inside = low <= value if high is None else low <= value <= high
    if not inside:
        limit = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InvalidRequestError(f"{name} is {value}; it must be {limit}", name)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One conversation or one prompt to continue. Exactly one of `messages` and `prompt` is set.

    `prompt` is text, or token ids which are taken as they are. `sampling` holds only what the
    client set; the model's generation_config.json fills the rest. `default_max_tokens` holds where
    `max_tokens` is not set, and gives way where less is possible; None goes on to the end.
    """

    request_id: str
    messages: tuple[Mapping[str, Any], ...] | None = None
    prompt: str | tuple[int, ...] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    sampling: SamplingFields = field(default_factory=SamplingFields)
    stop: tuple[str, ...] = ()
    echo: bool = False
    default_max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    """A request with its prompt as token ids; `text` is None when the client sent ids."""

    request: GenerationRequest
    token_ids: tuple[int, ...]
    text: str | None = None


@dataclass(frozen=True, slots=True)
class TokenIdLogprobs:
    """Natural-log probability of a chosen token, and of the likeliest ones in descending order."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TokenChunk:
    """New tokens of one choice of a request.

    `index` is the choice, from 0 to n - 1. A chunk with `finish_reason` is the last of its choice;
    the end-of-sequence token that caused "stop" is the last of `token_ids` then. `stop_choice`
    ends this choice alone, for example at a stop string; the other choices go on.
    """

    prompt: TokenizedPrompt
    index: int
    token_ids: tuple[int, ...]
    stop_choice: Callable[[], None]
    logprobs: tuple[TokenIdLogprobs, ...] | None = None
    finish_reason: FinishReason | None = None
    num_cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """A token as text and bytes with its log probability; `top` are the likeliest ones."""

    token: str
    token_bytes: bytes
    logprob: float
    top: tuple["TokenLogprobs", ...] = ()


@dataclass(frozen=True, slots=True)
class TextChunk:
    """New text of one choice of a request, never a broken character.

    `num_prompt_tokens` and `num_cached_tokens` are of the request; `num_completion_tokens` counts
    the tokens of this choice so far. A chunk with `finish_reason` is the last of its choice;
    `stop_reason` is then the stop string that was found, if any. `token_ids` are the tokens read
    since the chunk before; those of a character that is not whole yet come with its text.
    """

    index: int
    text: str
    num_prompt_tokens: int
    num_completion_tokens: int
    num_cached_tokens: int = 0
    logprobs: tuple[TokenLogprobs, ...] | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | None = None
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class HttpRequestPayload:
    """An HTTP request as a raw graph sees it. `headers` have lower-case names."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: str = ""


@dataclass(frozen=True, slots=True)
class HttpResponsePayload:
    """An answer of a raw graph, or a piece of one.

    The first one fixes `status` and `content_type`; the bodies of all are written as they come.
    Raises TypeError or ValueError, in the node that makes it, for what HTTP cannot carry.
    """

    body: bytes
    status: int = 200
    content_type: str = "application/json"

    def __post_init__(self) -> None:
        if not isinstance(self.body, bytes | bytearray | memoryview):
            raise TypeError(f"body is a {type(self.body).__name__}; it must be bytes")
        # Statuses below 200 are no answers, so the client would go on waiting for one.
        if not (isinstance(self.status, int) and 200 <= self.status <= 599):
            raise ValueError(f"status is {self.status!r}; it must be an integer from 200 to 599")
        if not (isinstance(self.content_type, str) and self.content_type.isprintable()):
            raise ValueError(f"content_type is {self.content_type!r}; it must be printable text")
