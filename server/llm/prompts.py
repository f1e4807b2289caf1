"""Checks what callers give to an LLM: prompts, conversations, parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

from server.errors import InvalidRequestError
from server.llm.outputs import Conversation
from server.payloads import ChatOptions, SamplingFields, SamplingParams
from server.protocol.openai.messages import parse_messages, parse_tools

__all__ = [
    "chat_fields",
    "checked_prompt",
    "is_token_ids",
    "params_for_each",
    "sampling_fields",
    "stop_strings",
]


def params_for_each(
    params: SamplingParams | Sequence[SamplingParams] | None, num_prompts: int
) -> Sequence[SamplingParams | None]:
    """The parameters of every prompt. Raises InvalidRequestError."""
    if params is None or isinstance(params, SamplingParams):
        return [params] * num_prompts
    if len(params) != num_prompts:
        raise InvalidRequestError(
            f"there are {num_prompts} prompts and {len(params)} sampling parameters; give one "
            "for each prompt, or a single one for all",
            "sampling_params",
        )
    return params


def sampling_fields(params: SamplingParams | None) -> SamplingFields:
    """The fields that are not None; the model's defaults fill the others."""
    if params is None:
        return {}
    values = {field.name: getattr(params, field.name) for field in fields(params)}
    return cast(SamplingFields, {name: v for name, v in values.items() if v is not None})


def stop_strings(stop: str | Sequence[str]) -> tuple[str, ...]:
    """One stop string or several. Raises InvalidRequestError."""
    strings = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(isinstance(string, str) and string for string in strings):
        problem = f"stop is {stop!r}; it must be strings that are not empty"
        raise InvalidRequestError(problem, "stop")
    return strings


def is_token_ids(prompt: object) -> bool:
    """Whether this is one prompt of token ids, not a list of prompts."""
    return isinstance(prompt, Sequence) and bool(prompt) and isinstance(prompt[0], int)


def checked_prompt(prompt: object, number: int) -> str | tuple[int, ...]:
    """A prompt in the graph's form. Raises InvalidRequestError."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, Sequence) and all(type(token) is int for token in prompt):
        return tuple(prompt)
    found = type(prompt).__name__
    raise InvalidRequestError(
        f"prompt {number} is a {found}; it must be text or a sequence of token ids", "prompt"
    )


def chat_fields(
    messages: Conversation,
    tools: Sequence[Mapping[str, Any]],
    chat_template_kwargs: Mapping[str, Any] | None,
    chat_options: ChatOptions | None,
) -> dict[str, Any]:
    """The fields of a GenerationRequest that a conversation fills. Raises InvalidRequestError."""
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise InvalidRequestError(
            f"a conversation is a {type(messages).__name__}; it must be a list of messages",
            "messages",
        )
    return {
        "messages": parse_messages(messages),
        "tools": parse_tools(tools),
        "chat_template_kwargs": dict(chat_template_kwargs or {}),
        "chat_options": chat_options or ChatOptions(),
    }
