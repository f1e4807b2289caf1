"""The packets that graphs take and give, and that travel between nodes.

Standard library only: anything may import it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from server.sampling_params import SamplingFields, SamplingParams
from server.tensors import Tensor

__all__ = [
    "REASONING_EFFORTS",
    "AnswerFormat",
    "AnswerKind",
    "ChatOptions",
    "FinishReason",
    "GenerationRequest",
    "HttpRequestPayload",
    "HttpResponsePayload",
    "InferRequest",
    "InferResponse",
    "LoadOptions",
    "ModelLimits",
    "ReasoningEffort",
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
AnswerKind = Literal["json", "regex", "choice", "grammar", "structural_tag"]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
REASONING_EFFORTS: tuple[ReasoningEffort, ...] = get_args(ReasoningEffort)


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How a conversation becomes a prompt, beside its messages, tools and template variables.

    `reasoning_effort` is told to the template in its own words; "none" turns thinking off.
    `thinking_token_budget` is the most tokens of thinking before the answer; -1 is no limit, and
    None leaves it to the effort. With `add_generation_prompt` the prompt ends with the beginning
    of an answer; with `continue_final_message` it ends inside the last message. `documents` are for
    templates that show documents.
    """

    reasoning_effort: ReasoningEffort | None = None
    thinking_token_budget: int | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    documents: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """What an answer must look like; errors about it name `field` of the request.

    By `kind`, `value` is a JSON schema, a regular expression for the whole answer, a list of the
    possible answers, a grammar (Lark, or GBNF as llama.cpp has it), or a structural tag as vLLM and
    xgrammar have it. Without `has_white_space`, JSON has none between its values.
    """

    kind: AnswerKind
    value: Any
    field: str = "response_format"
    has_white_space: bool = True

    def without_white_space(self) -> "AnswerFormat":
        """The same format, with no white space between the values of JSON."""
        return replace(self, has_white_space=False)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One conversation or one prompt to continue. Exactly one of `messages` and `prompt` is set.

    `chat_options` say how messages become a prompt; `chat_template_kwargs` are variables for the
    model's chat template and win over them.
    `prompt` is text, or token ids, which are used unchanged. `sampling` holds only what the client
    set; the model's generation_config.json has the defaults. `default_max_tokens` is the limit if
    the client sets no `max_tokens`: it is reduced to what is possible, and None is no limit. So is
    `max_tokens` itself with `reduce_max_tokens`; else more than is possible is an error.
    Requests with a lower `priority` go first. Only requests with the same `cache_salt` share cached
    prefixes. A prompt is cut to its last `truncate_prompt_tokens`; -1 keeps as many as there is
    room for. `best_of` answers are generated and the `n` best returned; None generates `n`.
    With an `answer_format` the answer has this form, or is calls of `tools`. With
    `is_tool_required` it must be tool calls; without `parallel_tool_calls` there is at most one.
    `bad_words` are texts that must not be written in the tokens that the tokenizer gives for them.
    """

    request_id: str
    messages: tuple[Mapping[str, Any], ...] | None = None
    prompt: str | tuple[int, ...] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    chat_options: ChatOptions = field(default_factory=ChatOptions)
    sampling: SamplingFields = field(default_factory=SamplingFields)
    stop: tuple[str, ...] = ()
    bad_words: tuple[str, ...] = ()
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    truncate_prompt_tokens: int | None = None
    best_of: int | None = None
    echo: bool = False
    default_max_tokens: int | None = None
    reduce_max_tokens: bool = False
    priority: int = 0
    cache_salt: str = ""
    answer_format: AnswerFormat | None = None
    is_tool_required: bool = False
    parallel_tool_calls: bool = True


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    """A request with its prompt as token ids; `text` is None when the client sent ids.

    The answer may begin with `thinking_token_budget` tokens of thinking; None is no limit.
    """

    request: GenerationRequest
    token_ids: tuple[int, ...]
    text: str | None = None
    thinking_token_budget: int | None = None


@dataclass(frozen=True, slots=True)
class TokenIdLogprobs:
    """Natural-log probability of a chosen token; `top` are the likeliest tokens, best first."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TokenChunk:
    """New tokens of one choice of a request.

    `index` is the choice, of `num_choices`: with `best_of` these are more than n, and None means n.
    A chunk with `finish_reason` is the last of its choice; if an end token caused "stop", it is the
    last of `token_ids`. `stop_choice` ends only this choice, for example at a stop string.
    `prompt_logprobs` come with the first chunk of a choice, without the prompt's first token.
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
    """A token as text and bytes with its log probability; `top` are the likeliest tokens.

    `logprob` is None for the first token of a prompt. `text_offset` is where the token begins in
    the text, which includes an echoed prompt.
    """

    token: str
    token_bytes: bytes
    logprob: float | None
    top: tuple["TokenLogprobs", ...] = ()
    text_offset: int = 0
    token_id: int | None = None


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call. `index` counts the calls of a choice; the first piece of a call has
    `id` and `name`. The `arguments` of all pieces together are the text of a JSON object.
    """

    index: int
    id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class TextChunk:
    """New text of one choice of a request, never a broken character.

    After an output parser, `text` is what is neither `reasoning` nor `tool_calls`; a choice with
    tool calls ends with "tool_calls" instead of "stop", unless the last call is incomplete.
    `num_prompt_tokens` and `num_cached_tokens` are those of the request; `num_completion_tokens`
    counts the tokens of this choice so far. A chunk with `finish_reason` is the last of its
    choice; `stop_reason` is then the stop string that was found, if any. `token_ids` are the
    tokens since the chunk before; those of an incomplete character come with its text.
    `prompt_logprobs`, if requested, come with the first chunk of each choice.
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
    """The description of a tokenizer; None for what its files do not say.

    `special_tokens` has the texts of bos_token, eos_token and so on.
    """

    vocab_size: int
    special_tokens: Mapping[str, str]
    tokenizer_class: str | None = None
    pad_token_id: int | None = None
    chat_template: str | None = None


@runtime_checkable
class TextTokenizer(Protocol):
    """A side packet of this type serves the endpoints that tokenise. Threads share it."""

    def info(self) -> TokenizerInfo:
        """Describe the tokenizer."""

    def encode(self, text: str, add_special_tokens: bool) -> tuple[int, ...]:
        """Return the token ids of a text, never cut."""

    def decode(self, token_ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Return the text of token ids; special tokens are written as their names or skipped."""

    def spell(self, token_ids: Iterable[int]) -> list[str]:
        """Return the text of each token; special tokens are written as their names."""

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        template_kwargs: Mapping[str, Any],
        options: ChatOptions,
    ) -> str:
        """Return the prompt of a conversation, special tokens included.

        Raises InvalidRequestError if the model cannot chat, or cannot render these messages.
        """


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What a server lets nodes do while they load a model.

    With `auto_tune` they may take time to measure what is fastest on this machine. `chat_template`
    is a file with a template that replaces the model's own.
    """

    auto_tune: bool = True
    chat_template: Path | None = None


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """A side packet with the most tokens that prompt and answer may have together."""

    max_model_len: int


@dataclass(frozen=True, slots=True)
class HttpRequestPayload:
    """An HTTP request for a graph that handles HTTP itself. Names in `headers` are lower-case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: str = ""


@dataclass(frozen=True, slots=True)
class HttpResponsePayload:
    """The answer of a graph that handles HTTP itself, or a piece of it.

    The first piece sets `status` and `content_type`; all bodies are written as they come. Raises
    TypeError or ValueError, in the node that makes it, for what HTTP cannot carry.
    """

    body: bytes
    status: int = 200
    content_type: str = "application/json"

    def __post_init__(self) -> None:
        if not isinstance(self.body, bytes | bytearray | memoryview):
            raise TypeError(f"body is a {type(self.body).__name__}; it must be bytes")
        # After a status below 200 a client goes on waiting for the answer.
        if not (isinstance(self.status, int) and 200 <= self.status <= 599):
            raise ValueError(f"status is {self.status!r}; it must be an integer from 200 to 599")
        if not (isinstance(self.content_type, str) and self.content_type.isprintable()):
            raise ValueError(f"content_type is {self.content_type!r}; it must be printable text")


@dataclass(frozen=True, slots=True)
class InferRequest:
    """Tensors for a model. `outputs` names the outputs to return; empty means all.

    `parameters` are the client's own; a node may know them.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, bool | int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InferResponse:
    """The tensors that the model returned."""

    outputs: tuple[Tensor, ...]
