"""What travels on graph borders and between nodes. Standard library only."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from server.sampling_params import SamplingFields, SamplingParams
from server.tensors import Tensor

__all__ = [
    "FinishReason",
    "GenerationRequest",
    "HttpRequestPayload",
    "HttpResponsePayload",
    "InferRequest",
    "InferResponse",
    "LoadOptions",
    "ModelLimits",
    "SamplingFields",
    "SamplingParams",
    "TextChunk",
    "TextTokenizer",
    "TokenChunk",
    "TokenIdLogprobs",
    "TokenLogprobs",
    "TokenizedPrompt",
    "TokenizerInfo",
    "ToolCallDelta",
]

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One conversation or one prompt to continue. Exactly one of `messages` and `prompt` is set.

    `prompt` is text, or token ids which are taken as they are. `sampling` holds only what the
    client set; the model's generation_config.json fills the rest. `default_max_tokens` holds where
    `max_tokens` is not set, and gives way where less is possible; None goes on to the end.
    Requests of a lower `priority` go first. Only requests with the same `cache_salt` share what
    was computed of a common prefix. Of a longer prompt the last `truncate_prompt_tokens` are kept,
    or, where that is -1, as many as there is room for. `best_of` answers are made, the `n` best
    are given; None makes `n`.
    With a `json_schema` the answer is JSON that satisfies it, or calls of `tools`, which are the
    only answer where `is_tool_required`; without `parallel_tool_calls` there is one at the most.
    """

    request_id: str
    messages: tuple[Mapping[str, Any], ...] | None = None
    prompt: str | tuple[int, ...] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    sampling: SamplingFields = field(default_factory=SamplingFields)
    stop: tuple[str, ...] = ()
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    truncate_prompt_tokens: int | None = None
    best_of: int | None = None
    echo: bool = False
    default_max_tokens: int | None = None
    priority: int = 0
    cache_salt: str = ""
    json_schema: Mapping[str, Any] | None = None
    is_tool_required: bool = False
    parallel_tool_calls: bool = True


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

    `index` is the choice, of `num_choices`; that is more than n where the n best are to be chosen,
    and None means n. A chunk with `finish_reason` is the last of its choice; the end token that
    caused "stop" is the last of `token_ids` then. `stop_choice` ends this choice alone, for example
    at a stop string; the other choices go on. `prompt_logprobs` come once, with the first chunk of
    a choice; there is none for the first token of the prompt.
    """

    prompt: TokenizedPrompt
    index: int
    token_ids: tuple[int, ...]
    stop_choice: Callable[[], None]
    logprobs: tuple[TokenIdLogprobs, ...] | None = None
    finish_reason: FinishReason | None = None
    num_cached_tokens: int = 0
    prompt_logprobs: tuple[TokenIdLogprobs, ...] | None = None
    num_choices: int | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """A token as text and bytes with its log probability; `top` are the likeliest ones.

    `logprob` is None for the first token of a prompt. `text_offset` is where the token begins in
    the text, an echoed prompt included.
    """

    token: str
    token_bytes: bytes
    logprob: float | None
    top: tuple["TokenLogprobs", ...] = ()
    text_offset: int = 0
    token_id: int | None = None


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call. `index` counts the calls of a choice; the first piece of each has an
    `id` and a `name`. The `arguments` of all pieces together are the text of a JSON object.
    """

    index: int
    id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class TextChunk:
    """New text of one choice of a request, never a broken character.

    Where the output is parsed, `text` is what is neither `reasoning` nor `tool_calls`; a choice
    that made tool calls ends with "tool_calls" in place of "stop". `num_prompt_tokens` and
    `num_cached_tokens` are of the request; `num_completion_tokens` counts the tokens of this
    choice so far. A chunk with `finish_reason` is the last of its choice; `stop_reason` is then
    the stop string that was found, if any. `token_ids` are the tokens read since the chunk before;
    those of a character that is not whole yet come with its text. `prompt_logprobs`, if they were
    asked for, come with the first chunk of each choice.
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
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    prompt_logprobs: tuple[TokenLogprobs, ...] | None = None


@dataclass(frozen=True, slots=True)
class TokenizerInfo:
    """What there is to know of a tokenizer; None where its files do not say.

    `special_tokens` has the texts of bos_token, eos_token and the like.
    """

    vocab_size: int
    special_tokens: Mapping[str, str]
    tokenizer_class: str | None = None
    pad_token_id: int | None = None
    chat_template: str | None = None


@runtime_checkable
class TextTokenizer(Protocol):
    """A side packet of this kind serves the endpoints that tokenise. Threads share it."""

    def info(self) -> TokenizerInfo:
        """Describe it."""

    def encode(self, text: str, add_special_tokens: bool) -> tuple[int, ...]:
        """Return the token ids of a text, never cut."""

    def decode(self, token_ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Return the text of token ids; special tokens are their names, or nothing."""

    def spell(self, token_ids: Iterable[int]) -> list[str]:
        """Return the text of each token by itself; special tokens are their names."""

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        template_kwargs: Mapping[str, Any],
    ) -> str:
        """Return the prompt of a conversation, whose special tokens are in the text already.

        Raises InvalidRequestError where the model cannot chat, or not in this way.
        """


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What a server lets nodes do while they load a model.

    With `auto_tune` they may take time to measure what is fastest on this machine.
    """

    auto_tune: bool = True


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """A side packet for those who ask: how many tokens prompt and answer may have together."""

    max_model_len: int


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


@dataclass(frozen=True, slots=True)
class InferRequest:
    """Tensors for a model. `outputs` names those that are wanted; empty wants all.

    `parameters` are the client's own, for the nodes that know them.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, bool | int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InferResponse:
    """The tensors that came out."""

    outputs: tuple[Tensor, ...]
