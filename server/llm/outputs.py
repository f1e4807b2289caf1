"""The results of an LLM."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from server.errors import ServingError
from server.payloads import FinishReason, TextChunk, TokenLogprobs

__all__ = ["CompletionOutput", "Conversation", "Prompt", "RequestOutput", "ToolCall", "collect"]

Conversation = Sequence[Mapping[str, Any]]
Prompt = str | Sequence[int] | Conversation


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model calls; `arguments` is the text of a JSON object."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class CompletionOutput:
    """One answer to a prompt; `text` is what is neither `reasoning` nor `tool_calls`.

    `token_ids` include the token that ended it. `logprobs` are natural-log probabilities, one
    entry per token of the text, None unless they were asked for. `stop_reason` is the stop string
    that was found, if any.
    """

    index: int
    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None
    logprobs: tuple[TokenLogprobs, ...] | None = None
    stop_reason: str | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def num_tokens(self) -> int:
        """How many tokens were generated."""
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """A prompt, or a conversation, with its `n` answers.

    `num_cached_tokens` of the `num_prompt_tokens` were found in the prefix cache. `error` says why
    there is no answer; it is set only with `on_error="return"`.
    `prompt_logprobs` have an entry for each token of the prompt, whose `logprob` is None for the
    first; they are None unless they were asked for.
    """

    prompt: Prompt
    outputs: tuple[CompletionOutput, ...] = ()
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    error: ServingError | None = None
    prompt_logprobs: tuple[TokenLogprobs, ...] | None = None

    @property
    def text(self) -> str:
        """The first answer."""
        return self.outputs[0].text


def collect(prompt: Prompt, chunks: Iterable[TextChunk]) -> RequestOutput:
    """Join the chunks of each answer; chunks of different choices may alternate."""
    choices: dict[int, list[TextChunk]] = {}
    for chunk in chunks:
        choices.setdefault(chunk.index, []).append(chunk)
    outputs = tuple(_join(index, choices[index]) for index in sorted(choices))
    any_choice = next(iter(choices.values()))
    of_prompt = any_choice[0].prompt_logprobs
    return RequestOutput(
        prompt,
        outputs,
        any_choice[-1].num_prompt_tokens,
        any_choice[-1].num_cached_tokens,
        prompt_logprobs=None if of_prompt is None else tuple(of_prompt),
    )


def _join(index: int, chunks: Sequence[TextChunk]) -> CompletionOutput:
    has_logprobs = any(chunk.logprobs is not None for chunk in chunks)
    return CompletionOutput(
        index=index,
        text="".join(chunk.text for chunk in chunks),
        token_ids=tuple(token for chunk in chunks for token in chunk.token_ids),
        finish_reason=chunks[-1].finish_reason,
        logprobs=tuple(entry for chunk in chunks for entry in chunk.logprobs or ())
        if has_logprobs
        else None,
        stop_reason=chunks[-1].stop_reason,
        reasoning="".join(chunk.reasoning for chunk in chunks),
        tool_calls=_join_tool_calls(chunks),
    )


def _join_tool_calls(chunks: Sequence[TextChunk]) -> tuple[ToolCall, ...]:
    calls: list[ToolCall] = []
    for delta in (delta for chunk in chunks for delta in chunk.tool_calls):
        if delta.id is not None:
            calls.append(ToolCall(delta.id, delta.name or "", ""))
        call = calls[delta.index]
        calls[delta.index] = replace(call, arguments=call.arguments + delta.arguments)
    return tuple(calls)
