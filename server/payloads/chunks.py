"""What a text model answers, piece by piece: tokens, then text."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from server.payloads.generation import GenerationRequest

__all__ = [
    "FinishReason",
    "TextChunk",
    "TokenChunk",
    "TokenIdLogprobs",
    "TokenLogprobs",
    "TokenizedPrompt",
    "ToolCallDelta",
]

FinishReason = Literal["stop", "length", "tool_calls"]


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
    prompt_logprobs: Collection[TokenIdLogprobs] | None = None
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
    `prompt_logprobs`, if requested, come with the first chunk of each choice; there may be a
    million, made anew whenever they are iterated over.
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
    prompt_logprobs: Collection[TokenLogprobs] | None = None
