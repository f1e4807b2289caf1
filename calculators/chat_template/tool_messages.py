"""Tool calls and their results in the form that a chat template takes, one function a rule."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from itertools import islice, takewhile
from typing import Any

from calculators.chat_template.message_forms import Message, Messages, joined, text_of, without
from calculators.chat_template.template_traits import TemplateTraits

__all__ = [
    "one_call_each",
    "split_calls",
    "tools_as_text",
    "with_calls",
    "with_short_ids",
]

SHORT_ID_LENGTH = 9
# The name under which arguments that are no object are given to templates that need one.
BROKEN = "arguments"


def with_calls(message: Message, traits: TemplateTraits) -> Message:
    """Drop an empty list of tool calls; write arguments as an object or as text."""
    calls = message.get("tool_calls")
    if calls:
        return {**message, "tool_calls": [_with_arguments(call, traits) for call in calls]}
    return without(message, "tool_calls")


def _with_arguments(call: Any, traits: TemplateTraits) -> Any:
    """Give arguments the form that the template takes.

    Those that are no JSON object stay as the model wrote them, or become a member of an object.
    """
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return call
    arguments = function.get("arguments")
    parsed = _parse_arguments(arguments)
    if parsed is None and not traits.broken_arguments:
        arguments = {BROKEN: arguments}
    elif parsed is not None:
        # The client's own text keeps its spacing.
        is_text = isinstance(arguments, str) and bool(parsed)
        text = arguments if is_text else json.dumps(parsed, ensure_ascii=False)
        arguments = parsed if traits.arguments == "object" else text
    return {**call, "function": {**function, "arguments": arguments}}


def _parse_arguments(arguments: object) -> Mapping[str, Any] | None:
    """The object; an empty one for no arguments, in any spelling; None for anything else."""
    # Some clients write JSON twice: an object as the text of a text.
    for _ in range(2):
        if not isinstance(arguments, str):
            break
        if not arguments.strip():
            return {}
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    if arguments is None:
        return {}
    return arguments if isinstance(arguments, Mapping) else None


def tools_as_text(messages: Messages, traits: TemplateTraits) -> Messages:
    """Write what the template has no form for as JSON in messages of assistant and user.

    The form is that of llama.cpp, which does so for templates without tools. Results in a row are
    one message.
    """
    if traits.tool_calls and traits.tool_results and traits.lone_results:
        return messages
    names: dict[object, Any] = {}
    written: Messages = []
    is_after_result = False
    for message in messages:
        names |= _names_of_calls(message)
        is_result = message["role"] == "tool" and (
            not traits.tool_results
            or (not traits.lone_results and message.get("tool_call_id") not in names)
        )
        if is_result:
            result = _result_as_text(message, names)
            written.append(joined(written.pop(), result) if is_after_result else result)
        elif message.get("tool_calls") and not traits.tool_calls:
            written.append(_calls_as_text(message))
        else:
            written.append(message)
        is_after_result = is_result
    return written


def _names_of_calls(message: Message) -> Mapping[object, Any]:
    return {
        call.get("id"): call["function"].get("name")
        for call in message.get("tool_calls", ())
        if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping)
    }


def _calls_as_text(message: Message) -> Message:
    calls = [
        {**call["function"], **({"id": call["id"]} if call.get("id") else {})}
        for call in message["tool_calls"]
    ]
    text = json.dumps({"tool_calls": calls}, ensure_ascii=False)
    content = text_of(message)
    return {
        **without(message, "tool_calls"),
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


def split_calls(message: Message) -> Iterable[Message]:
    """Two messages for text and tool calls, in a template that would drop one of them."""
    if not (message.get("tool_calls") and text_of(message)):
        return [message]
    calls = {"role": message["role"], "content": "", "tool_calls": message["tool_calls"]}
    return [without(message, "tool_calls"), calls]


def one_call_each(messages: Messages) -> Messages:
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


def with_short_ids(message: Message) -> Message:
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
