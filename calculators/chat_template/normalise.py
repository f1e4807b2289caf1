"""Writes a conversation in the form that a chat template knows, one function for each rule.

No message is lost: what a template has no form for becomes text of a message that it shows.
"""

from collections.abc import Sequence

from calculators.chat_template.message_forms import (
    Message,
    Messages,
    join_all,
    joined,
    text_of,
    with_empty_content,
    with_parts,
    with_reasoning,
    without,
)
from calculators.chat_template.template_traits import EmptyContent, TemplateTraits
from calculators.chat_template.tool_messages import (
    one_call_each,
    split_calls,
    tools_as_text,
    with_calls,
    with_short_ids,
)
from calculators.chat_template.tool_results import pair_results
from server.errors import InvalidRequestError

__all__ = ["normalise"]

REASONING_MEMBERS = ("reasoning_content", "reasoning", "thinking")
INSTRUCTING_ROLES = ("system", "developer")


def normalise(messages: Sequence[Message], traits: TemplateTraits) -> Messages:
    """The messages as a template with these traits takes them; the originals stay as they are.

    Raises InvalidRequestError for a message without a role.
    """
    for i, message in enumerate(messages):
        if not isinstance(message.get("role"), str):
            raise InvalidRequestError(f"messages[{i}] has no role", "messages")
    normal = [with_calls(message, traits) for message in pair_results(messages)]
    if not traits.developer:
        normal = [_without_developer(message) for message in normal]
    normal = tools_as_text(normal, traits)
    if not traits.text_beside_calls:
        normal = [part for message in normal for part in split_calls(message)]
    if not traits.several_calls:
        normal = one_call_each(normal)
    if traits.short_call_ids:
        normal = [with_short_ids(message) for message in normal]
    if not traits.empty_answers:
        normal = [message for message in normal if not _is_empty_answer(message)]
    normal = _place_instructions(normal, traits)
    normal = _join_neighbours(normal, traits)
    if not traits.assistant_first:
        normal = _begin_with_user(normal)
    normal = [_with_reasoning(message, traits) for message in normal]
    normal = [_with_content(message, traits) for message in normal]
    return [with_parts(message, traits.part_roles) for message in normal]


def _without_developer(message: Message) -> Message:
    """OpenAI's newer name for the system role."""
    return {**message, "role": "system"} if message["role"] == "developer" else message


def _place_instructions(messages: Messages, traits: TemplateTraits) -> Messages:
    """Join and move system messages, as far as the template needs it."""
    if not traits.lone_system and all(m["role"] in INSTRUCTING_ROLES for m in messages):
        return [{**join_all(messages), "role": "user"}] if messages else messages
    is_lasting = traits.lasting_system or _ends_with_user(messages, traits)
    if traits.system and traits.two_systems and traits.later_system and is_lasting:
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
        return _into_user(first, rest, 0)
    if not is_lasting:
        # Mistral's templates write the system message into the last message of the user.
        return _into_user(first, rest, _find_last_user(rest))
    if not traits.two_systems:
        first = [join_all(first)]
    return [*first, *rest]


def _ends_with_user(messages: Messages, traits: TemplateTraits) -> bool:
    """Whether the last message is the user's, and does not become a part of a tool's result.

    Instructions are not counted: they are moved.
    """
    roles = [m["role"] for m in messages if m["role"] not in INSTRUCTING_ROLES][-2:]
    return roles[-1:] == ["user"] and (traits.user_after_result or roles[0] != "tool")


def _into_user(instructions: Messages, messages: Messages, place: int) -> Messages:
    """Put the instructions before the text of the message at `place`, if it is the user's."""
    system = {**join_all(instructions), "role": "user"}
    if messages and messages[place]["role"] == "user":
        return [*messages[:place], joined(system, messages[place]), *messages[place + 1 :]]
    return [system, *messages]


def _begin_with_user(messages: Messages) -> Messages:
    """Put an empty message of the user before a greeting of the assistant."""
    place = next((i for i, m in enumerate(messages) if m["role"] not in INSTRUCTING_ROLES), None)
    if place is None or messages[place]["role"] != "assistant":
        return messages
    return [*messages[:place], {"role": "user", "content": ""}, *messages[place:]]


def _find_last_user(messages: Messages) -> int:
    places = (i for i in range(len(messages) - 1, -1, -1) if messages[i]["role"] == "user")
    return next(places, 0)


def _is_empty_answer(message: Message) -> bool:
    return message["role"] == "assistant" and not (
        text_of(message) or message.get("tool_calls") or _reasoning_of(message)
    )


def _join_neighbours(messages: Messages, traits: TemplateTraits) -> Messages:
    """Join messages of a role in a row, where the template wants the roles to alternate.

    A message of the user behind the result of a tool then becomes a part of the result.
    """
    joins_results = not traits.user_after_result
    roles = [
        *(() if traits.two_users else ("user",)),
        *(() if traits.two_assistants else ("assistant",)),
    ]
    merged: Messages = []
    for message in messages:
        role = message["role"]
        before = merged[-1] if merged else None
        is_repeated = role in roles and before is not None and before["role"] == role
        if before is not None and (
            (is_repeated and not before.get("tool_calls"))
            or (joins_results and role == "user" and before["role"] == "tool")
        ):
            merged[-1] = joined(before, message)
        else:
            merged.append(message)
    return merged


def _with_reasoning(message: Message, traits: TemplateTraits) -> Message:
    """Move earlier reasoning to where the template reads it."""
    if message["role"] != "assistant" or traits.reasoning is None:
        return message
    reasoning = _reasoning_of(message)
    if reasoning is None:
        return message
    return with_reasoning(without(message, *REASONING_MEMBERS), reasoning, traits.reasoning)


def _reasoning_of(message: Message) -> str | None:
    found = [message[name] for name in REASONING_MEMBERS if isinstance(message.get(name), str)]
    return next(filter(None, found), None)


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
