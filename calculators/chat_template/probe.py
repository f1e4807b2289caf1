"""Finds out what a chat template knows: renders small conversations, and looks what is shown."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from calculators.chat_template.efforts import NO_THINKING, map_efforts
from calculators.chat_template.message_forms import (
    with_empty_content,
    with_parts,
    with_reasoning,
)
from calculators.chat_template.template_traits import EmptyContent, ReasoningForm, TemplateTraits
from server.payloads import REASONING_EFFORTS as EFFORTS
from server.payloads import ReasoningEffort as Effort

__all__ = ["Render", "probe_template"]

Message = Mapping[str, Any]
Render = Callable[[Sequence[Message], Sequence[Message] | None, Mapping[str, Any]], str | None]
"""Renders messages, tools and further variables; None where the template raises."""

SWITCHES: Mapping[str, tuple[Any, Any]] = {
    "enable_thinking": (False, True),
    "thinking": (False, True),
    "thinking_mode": ("disabled", "enabled"),
}
EFFORT_NAMES = ("reasoning_effort", "thinking_effort", "reasoning_strength")
# What is given to a template that copies any effort into the prompt.
COMMON_EFFORTS: tuple[Effort, ...] = ("low", "medium", "high")
# No template writes these by itself.
FIRST, SECOND, THIRD = "qzfirst", "qzsecond", "qzthird"
VALUE, OTHER_VALUE, RESULT, NONSENSE = "qzvalue", "qzother", "qzresult", "qznonsense"
ARGUMENTS = {"qzkey": VALUE}
ARGUMENTS_TEXT = '{"qzkey": "qzvalue"}'
LISTED = re.compile("""["']thinking["']""")
SHORT_ID, SECOND_ID = "probe0001", "probe0002"
OTHER_IDS = ("call_0123456789abcdef", "call_2")


def _tool(**function: Any) -> Message:
    return {"type": "function", "function": {"name": "qztool", **function}}


def _tool_with_key(**schema: Any) -> Message:
    parameters = {"type": "object", "properties": {"qzkey": schema}, "required": ["qzkey"]}
    return _tool(description="A tool.", parameters=parameters)


BARE_TOOLS = (_tool(), _tool_with_key(type="string"), _tool_with_key(type="object"))
TOOL = _tool_with_key(type="string", description="A key.")
NULLABLE_TOOL = _tool_with_key(type=["string", "null"], description="A key.")


def probe_template(render: Render) -> TemplateTraits:
    """Find out what a template knows, by some seventy renderings of little text."""
    return _Probe(render).find_traits()


class _Probe:
    """One template, and the roles whose content it takes only as parts."""

    def __init__(self, render: Render) -> None:
        self._render_messages = render
        self._part_roles: tuple[str, ...] = ()
        self._empty_tools: tuple[()] | None = None
        self._thinking_on: Mapping[str, Any] = {}

    def find_traits(self) -> TemplateTraits:
        """Ask one question after the other; later ones use what earlier ones found."""
        for self._empty_tools in (None, ()):
            self._find_part_roles()
            if self._shows([_user(FIRST)], FIRST):
                break
        else:
            return TemplateTraits(is_probed=False)
        thinking = self._find_thinking()
        self._thinking_on = {name: on for name, (_, on) in thinking["switches"].items()}
        return replace(
            self._find_calls(),
            empty_tools="list" if self._empty_tools is not None else "null",
            part_roles=self._part_roles,
            **self._find_roles(),
            **thinking,
            tools=any(
                self._shows([*first, _user(FIRST)], "qztool", tools=[TOOL])
                for first in ([], [_system(SECOND)], [_message("developer", SECOND)])
            ),
            bare_tools=None not in [self._render([_user(FIRST)], [tool]) for tool in BARE_TOOLS],
            nullable_types=self._render([_user(FIRST)], [NULLABLE_TOOL]) is not None,
            continues=self._shows(
                [_user(FIRST), _assistant(SECOND)], SECOND, add_generation_prompt=False
            ),
        )

    def _find_part_roles(self) -> None:
        self._part_roles = ()
        for messages, mark in (
            ([_user(FIRST)], FIRST),
            ([_system(SECOND), _user(FIRST)], SECOND),
            ([_user(FIRST), _assistant(SECOND), _user(THIRD)], SECOND),
        ):
            self._try_parts(messages, mark)

    def _try_parts(self, messages: list[Message], mark: str) -> None:
        """Find out whether the role of the message with the mark needs parts."""
        role = next(m["role"] for m in messages if m["content"] == mark)
        if self._shows(messages, mark):
            return
        self._part_roles += (role,)
        if not self._shows(messages, mark):
            self._part_roles = self._part_roles[:-1]

    def _find_roles(self) -> dict[str, Any]:
        later = [_user("x"), _assistant("x"), _system(SECOND), _user(THIRD)]
        return {
            "system": self._shows([_system(SECOND), _user(FIRST)], FIRST, SECOND),
            "two_systems": self._shows(
                [_system(FIRST), _system(SECOND), _user(THIRD)], FIRST, SECOND, THIRD
            ),
            "later_system": self._shows(later, SECOND, THIRD)
            and self._shows([_system(FIRST), *later], FIRST, SECOND, THIRD),
            "lasting_system": self._shows(
                [_system(SECOND), _user(FIRST), _assistant(THIRD)], FIRST, SECOND, THIRD
            ),
            "lone_system": self._shows([_system(SECOND)], SECOND),
            "developer": self._knows_developer(),
            "any_role": self._shows([_message(NONSENSE, SECOND), _user(FIRST)], FIRST, SECOND),
            "two_users": self._shows([_user(FIRST), _user(SECOND)], FIRST, SECOND),
            "two_assistants": self._shows(
                [_user(FIRST), _assistant(SECOND), _assistant(THIRD), _user("x")], SECOND, THIRD
            ),
            "assistant_first": self._shows([_assistant(FIRST), _user(SECOND)], FIRST, SECOND),
            "empty_answers": self._shows(
                [_user(FIRST), _assistant(""), _user(SECOND)], FIRST, SECOND
            ),
        }

    def _knows_developer(self) -> bool:
        """Whether it shows that role, and not merely copies any name of a role."""
        text = self._render([_message("developer", SECOND), _user(FIRST)])
        if text is None or SECOND not in text:
            return False
        other = self._render([_message(NONSENSE, SECOND), _user(FIRST)])
        return other != text.replace("developer", NONSENSE)

    def _find_calls(self) -> TemplateTraits:
        """How it takes tool calls, their results, and reasoning beside them."""
        form = self._find_call_form()
        if form is None:
            result = self._shows([_user(FIRST), _assistant("x"), _result(SHORT_ID)], RESULT)
            return TemplateTraits(
                tool_calls=False, tool_results=result, reasoning=self._find_reasoning(None)
            )
        return TemplateTraits(
            tool_results=self._shows(_calling(form), VALUE, RESULT, tools=[TOOL]),
            user_after_result=self._shows(
                [*_calling(form), _user(THIRD)], VALUE, RESULT, THIRD, tools=[TOOL]
            ),
            arguments="text" if form.arguments == "text" else "object",
            broken_arguments=self._shows(
                _calling(replace(form, arguments="broken")), VALUE, tools=[TOOL]
            ),
            empty_content=self._find_empty_contents(form),
            lone_results=self._shows([_user(FIRST), _result(SHORT_ID)], RESULT, tools=[TOOL]),
            text_beside_calls=self._takes_text_beside_calls(form),
            several_calls=self._shows(_calling_twice(form), VALUE, OTHER_VALUE, tools=[TOOL]),
            short_call_ids=not all(
                self._shows(_calling(replace(form, call_id=call_id)), VALUE, tools=[TOOL])
                for call_id in OTHER_IDS
            ),
            reasoning=self._find_reasoning(form),
        )

    def _takes_text_beside_calls(self, form: "_CallForm") -> bool:
        """Whether it shows both, or would not show them in two messages either."""
        if self._shows(_calling(form, SECOND), SECOND, VALUE, tools=[TOOL]):
            return True
        user, *calling = _calling(form)
        split = [user, _assistant(SECOND), *calling, _assistant("x"), _user(THIRD)]
        return not self._shows(split, SECOND, VALUE, THIRD, tools=[TOOL])

    def _find_call_form(self) -> "_CallForm | None":
        forms = [
            _CallForm(arguments, content, has_result)
            for has_result in (True, False)
            for arguments in ("object", "text")
            for content in ("null", "text", "absent")
        ]
        return next((form for form in forms if self._shows_call(form)), None)

    def _shows_call(self, form: "_CallForm") -> bool:
        text = self._render(_calling(form), [TOOL])
        if text is None or VALUE not in text:
            return False
        # Python's own form of a dict is never what a model has learnt.
        return str(ARGUMENTS) not in text or form.arguments == "text"

    def _find_empty_contents(self, form: "_CallForm") -> tuple[EmptyContent, ...]:
        texts = {
            content: self._render(_calling(replace(form, content=content)), [TOOL]) or ""
            for content in get_args(EmptyContent)
        }
        num_none = min(text.count("None") for text in texts.values() if VALUE in text)
        return tuple(
            content
            for content, text in texts.items()
            if VALUE in text and text.count("None") == num_none
        )

    def _find_reasoning(self, form: "_CallForm | None") -> ReasoningForm | None:
        """Where it reads earlier reasoning, in a turn with calls or without."""
        for field in get_args(ReasoningForm):
            answer = with_reasoning(_assistant(SECOND), THIRD, field)
            conversations = [[_user(FIRST), answer], [_user(FIRST), answer, _user("x")]]
            if form is not None:
                user, call, *rest = _calling(form)
                conversations.append([user, with_reasoning(call, THIRD, field), *rest])
            texts = (self._render(c, [TOOL], **self._thinking_on) for c in conversations)
            # A template that knows no parts may show a list of them as it is.
            if any(text and THIRD in text and not LISTED.search(text) for text in texts):
                return cast(ReasoningForm, field)
        return None

    def _find_thinking(self) -> dict[str, Any]:
        switches = {}
        for name, values in SWITCHES.items():
            off, on = (self._render([_user(FIRST)], **{name: value}) for value in values)
            if None not in (off, on) and off != on:
                switches[name] = values
        self._thinking_on = {name: on for name, (_, on) in switches.items()}
        efforts = {name: self._find_efforts(name) for name in EFFORT_NAMES}
        budgets = {self._render([_user(FIRST)], thinking_budget=number) for number in (0, 512)}
        return {
            "switches": switches,
            "efforts": {name: values for name, values in efforts.items() if values},
            "thinking_budget": len(budgets) > 1,
        }

    def _find_efforts(self, name: str) -> Mapping[Effort, str]:
        """For each effort, the value of a variable; efforts that need none are left out."""

        def render(value: str) -> str | None:
            return self._render([_user(FIRST)], **{**self._thinking_on, name: value})

        default = render(NONSENSE)
        if default is not None and NONSENSE in default:
            return map_efforts(COMMON_EFFORTS, has_default=False)
        known = [effort for effort in EFFORTS if render(effort) not in (None, default)]
        mapped = dict(map_efforts(known, has_default=default is not None))
        for off in NO_THINKING[1:]:
            if "none" not in known and render(off) not in (None, default):
                mapped["none"] = off
        if self._thinking_on and mapped.get("none") not in NO_THINKING:
            # The switch turns it off; the least effort would contradict it.
            mapped.pop("none", None)
        return mapped

    def _shows(
        self,
        messages: Sequence[Message],
        *marks: str,
        tools: Sequence[Message] = (),
        **variables: Any,
    ) -> bool:
        text = self._render(messages, tools, **variables)
        return text is not None and all(mark in text for mark in marks)

    def _render(
        self, messages: Sequence[Message], tools: Sequence[Message] = (), **variables: Any
    ) -> str | None:
        return self._render_messages(
            [with_parts(message, self._part_roles) for message in messages],
            tools or self._empty_tools,
            variables,
        )


@dataclass(frozen=True, slots=True)
class _CallForm:
    """One way to write a tool call."""

    arguments: Literal["object", "text", "broken"]
    content: EmptyContent
    has_result: bool
    call_id: str = SHORT_ID


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _user(content: str) -> Message:
    return _message("user", content)


def _system(content: str) -> Message:
    return _message("system", content)


def _assistant(content: str) -> Message:
    return _message("assistant", content)


def _result(call_id: str) -> Message:
    return {"role": "tool", "tool_call_id": call_id, "name": "qztool", "content": RESULT}


def _calling(form: _CallForm, content: str = "") -> list[Message]:
    """A conversation with a tool call, and text beside it."""
    arguments = {
        "object": ARGUMENTS,
        "text": ARGUMENTS_TEXT,
        "broken": ARGUMENTS_TEXT.removesuffix("}"),
    }[form.arguments]
    function = {"name": "qztool", "arguments": arguments}
    calls = [{"id": form.call_id, "type": "function", "function": function}]
    message: Message = {"role": "assistant", "content": content, "tool_calls": calls}
    if not content:
        message = with_empty_content(message, form.content)
    rest = [_result(form.call_id)] if form.has_result else []
    return [_user(FIRST), message, *rest]


def _calling_twice(form: _CallForm) -> list[Message]:
    """The same with two calls at once."""
    user, message, *results = _calling(form)
    (call,) = message["tool_calls"]
    arguments = json.loads(json.dumps(call["function"]).replace(VALUE, OTHER_VALUE))
    calls = [call, {**call, "id": SECOND_ID, "function": arguments}]
    return [user, {**message, "tool_calls": calls}, *results, *[_result(SECOND_ID)] * len(results)]
