"""Writes a conversation in the form that a chat template knows, one function for each rule.

No message vanishes: what a template has no form for becomes text of a message that it shows.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, takewhile
from typing import Any

from calculators.chat_template.message_forms import (
    Message,
    with_empty_content,
    with_parts,
    with_reasoning,
)
from calculators.chat_template.template_traits import EmptyContent, TemplateTraits
from server.errors import InvalidRequestError

__all__ = ["complete_tools", "normalise"]

REASONING_MEMBERS = ("reasoning_content", "reasoning", "thinking")
INSTRUCTING_ROLES = ("system", "developer")
SHORT_ID_LENGTH = 9

Messages = list[Message]


def normalise(messages: Sequence[Message], traits: TemplateTraits) -> Messages:
    """The messages as a template with these traits takes them; the originals stay as they are.

    Raises InvalidRequestError for a message without a role.
    """
    for i, message in enumerate(messages):
        if not isinstance(message.get("role"), str):
            raise InvalidRequestError(f"messages[{i}] has no role", "messages")
    normal = [_with_calls(message, traits) for message in messages]
    if not traits.developer:
        normal = [_without_developer(message) for message in normal]
    if not (traits.tool_calls and traits.tool_results):
        normal = _tools_as_text(normal, traits)
    if not traits.calls_beside_text:
        normal = [part for message in normal for part in _split_calls(message)]
    if not traits.several_calls:
        normal = _one_call_each(normal)
    if traits.short_call_ids:
        normal = [_with_short_ids(message) for message in normal]
    normal = _place_instructions(normal, traits)
    normal = _join_neighbours(normal, traits)
    normal = [_with_reasoning(message, traits) for message in normal]
    normal = [_with_content(message, traits) for message in normal]
    return [with_parts(message, traits.part_roles) for message in normal]


def complete_tools(tools: Sequence[Message], traits: TemplateTraits) -> list[Message]:
    """The tools as a template with these traits takes them: with all members, if it needs them."""
    return [*tools] if traits.bare_tools else [_complete_tool(tool) for tool in tools]


def _complete_tool(tool: Message) -> Message:
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return tool
    parameters = {"type": "object", "properties": {}, **(function.get("parameters") or {})}
    description = function.get("description") or ""
    complete = {**function, "description": description, "parameters": parameters}
    return {**tool, "function": complete}


def _with_calls(message: Message, traits: TemplateTraits) -> Message:
    """Drop an empty list of tool calls; write arguments as an object or as text."""
    calls = message.get("tool_calls")
    if calls:
        return {**message, "tool_calls": [_with_arguments(call, traits) for call in calls]}
    return _without(message, "tool_calls")


def _with_arguments(call: Any, traits: TemplateTraits) -> Any:
    """Arguments that are no JSON object stay as the model wrote them, since nothing fits better."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return call
    arguments = function.get("arguments")
    parsed = _parse_arguments(arguments)
    if parsed is not None:
        # The client's own text keeps its spacing.
        is_text = isinstance(arguments, str) and bool(parsed)
        text = arguments if is_text else json.dumps(parsed, ensure_ascii=False)
        arguments = parsed if traits.arguments == "object" else text
    return {**call, "function": {**function, "arguments": arguments}}


def _parse_arguments(arguments: object) -> Mapping[str, Any] | None:
    """The object; an empty one for no arguments, in any spelling; None for anything else."""
    if isinstance(arguments, str):
        if not arguments.strip():
            return {}
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    if arguments is None:
        return {}
    return arguments if isinstance(arguments, Mapping) else None


def _without_developer(message: Message) -> Message:
    """OpenAI's newer name for the system role."""
    return {**message, "role": "system"} if message["role"] == "developer" else message


def _tools_as_text(messages: Messages, traits: TemplateTraits) -> Messages:
    """Write tool calls and results as JSON in messages of assistant and user.

    The form is that of llama.cpp, which does so for templates without tools. Results in a row are
    one message.
    """
    names = {
        call.get("id"): call["function"].get("name")
        for message in messages
        for call in message.get("tool_calls", ())
        if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping)
    }
    written: Messages = []
    is_after_result = False
    for message in messages:
        is_result = message["role"] == "tool" and not traits.tool_results
        if is_result:
            result = _result_as_text(message, names)
            written.append(_joined(written.pop(), result) if is_after_result else result)
        elif message.get("tool_calls") and not traits.tool_calls:
            written.append(_calls_as_text(message))
        else:
            written.append(message)
        is_after_result = is_result
    return written


def _calls_as_text(message: Message) -> Message:
    calls = [
        {**call["function"], **({"id": call["id"]} if call.get("id") else {})}
        for call in message["tool_calls"]
    ]
    text = json.dumps({"tool_calls": calls}, ensure_ascii=False)
    content = _text(message)
    return {
        **_without(message, "tool_calls"),
        "content": f"{content}\n\n{text}" if content else text,
    }


def _result_as_text(message: Message, names: Mapping[object, Any]) -> Message:
    call_id = message.get("tool_call_id")
    members = {
        "tool": message.get("name") or names.get(call_id),
        "content": message.get("content") or "",
        "tool_call_id": call_id,
    }
    found = {name: value for name, value in members.items() if value is not None}
    text = json.dumps({"tool_response": found}, ensure_ascii=False)
    return {"role": "user", "content": text}


def _split_calls(message: Message) -> Iterable[Message]:
    """Two messages for text and tool calls, in a template that would drop the calls."""
    if not (message.get("tool_calls") and _text(message)):
        return [message]
    return [_without(message, "tool_calls"), {**message, "content": ""}]


def _one_call_each(messages: Messages) -> Messages:
    """Give each of several calls a message of its own, and put its result behind it."""
    separate: Messages = []
    place = 0
    while place < len(messages):
        message = messages[place]
        place += 1
        calls = message.get("tool_calls") or []
        if len(calls) < 2:
            separate.append(message)
            continue
        results = list(takewhile(lambda m: m["role"] == "tool", islice(messages, place, None)))
        place += len(results)
        for call in calls:
            separate.append({**message, "tool_calls": [call]})
            separate += [r for r in results if r.get("tool_call_id") == call.get("id")]
            message = {"role": message["role"], "content": ""}
        ids = [call.get("id") for call in calls]
        separate += [r for r in results if r.get("tool_call_id") not in ids]
    return separate


def _with_short_ids(message: Message) -> Message:
    """Replace ids of tool calls that are not nine letters and digits, alike in call and result."""
    short = dict(message)
    if "tool_call_id" in short:
        short["tool_call_id"] = _short_id(short["tool_call_id"])
    if "tool_calls" in short:
        short["tool_calls"] = [
            {**call, "id": _short_id(call["id"])} if "id" in call else call
            for call in short["tool_calls"]
        ]
    return short


def _short_id(call_id: object) -> str:
    text = str(call_id)
    if len(text) == SHORT_ID_LENGTH and text.isascii() and text.isalnum():
        return text
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:SHORT_ID_LENGTH]


def _place_instructions(messages: Messages, traits: TemplateTraits) -> Messages:
    """Join and move system messages, as far as the template needs it."""
    if traits.system and traits.two_systems and traits.later_system:
        return messages
    num_first = 0
    while num_first < len(messages) and messages[num_first]["role"] in INSTRUCTING_ROLES:
        num_first += 1
    first, rest = messages[:num_first], messages[num_first:]
    if not traits.later_system:
        first += [message for message in rest if message["role"] in INSTRUCTING_ROLES]
        rest = [message for message in rest if message["role"] not in INSTRUCTING_ROLES]
    if not first:
        return rest
    if not traits.system:
        return _into_user(first, rest)
    if not traits.two_systems:
        first = [_join_all(first)]
    return [*first, *rest]


def _into_user(instructions: Messages, messages: Messages) -> Messages:
    """Put the instructions before the text of the first message of the user."""
    system = {**_join_all(instructions), "role": "user"}
    if messages and messages[0]["role"] == "user":
        return [_joined(system, messages[0]), *messages[1:]]
    return [system, *messages]


def _join_neighbours(messages: Messages, traits: TemplateTraits) -> Messages:
    """Join messages of a role in a row, where the template wants the roles to alternate.

    A message of the user behind the result of a tool then becomes a part of the result.
    """
    joins_results = not traits.user_after_result
    roles = [
        *(() if traits.two_users else ("user",)),
        *(() if traits.two_assistants else ("assistant",)),
    ]
    joined: Messages = []
    for message in messages:
        role = message["role"]
        before = joined[-1] if joined else None
        is_repeated = role in roles and before is not None and before["role"] == role
        if before is not None and (
            (is_repeated and not before.get("tool_calls"))
            or (joins_results and role == "user" and before["role"] == "tool")
        ):
            joined[-1] = _joined(before, message)
        else:
            joined.append(message)
    return joined


def _with_reasoning(message: Message, traits: TemplateTraits) -> Message:
    """Move earlier reasoning to where the template reads it."""
    if message["role"] != "assistant" or traits.reasoning is None:
        return message
    found = [message[name] for name in REASONING_MEMBERS if isinstance(message.get(name), str)]
    reasoning = next(filter(None, found), None)
    if reasoning is None:
        return message
    return with_reasoning(_without(message, *REASONING_MEMBERS), reasoning, traits.reasoning)


def _with_content(message: Message, traits: TemplateTraits) -> Message:
    """Give an empty content the form that the template needs beside tool calls; else a text."""
    content = message.get("content")
    if content:
        return message
    if not message.get("tool_calls"):
        return {**message, "content": ""}
    form: EmptyContent = "null" if content is None else "text"
    if form in traits.empty_content or not traits.empty_content:
        return with_empty_content(message, form)
    return with_empty_content(message, traits.empty_content[0])


def _join_all(messages: Messages) -> Message:
    joined = messages[0]
    for message in messages[1:]:
        joined = _joined(joined, message)
    return joined


def _joined(first: Message, second: Message) -> Message:
    """One message with the text of both; the other members of the second win."""
    texts = [text for text in (_text(first), _text(second)) if text]
    return {**first, **second, "role": first["role"], "content": "\n\n".join(texts)}


def _text(message: Message) -> str:
    """The text of a content; of one in parts, those that have text."""
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _without(message: Message, *names: str) -> Message:
    return {name: value for name, value in message.items() if name not in names}
