"""What a chat template knows, as the probe at load finds it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from calculators.chat_template.efforts import NO_THINKING
from server.payloads import ReasoningEffort as Effort

__all__ = ["EmptyContent", "ReasoningForm", "TemplateTraits"]

EmptyContent = Literal["null", "text", "absent"]
ReasoningForm = Literal["reasoning_content", "reasoning", "thinking", "part"]


@dataclass(frozen=True, slots=True)
class TemplateTraits:
    """What a chat template shows of a conversation. The defaults are those of a full template.

    `is_probed` is false for a template that refuses even a single message of a user.

    System messages: `system` is one at the beginning, `two_systems` two of them. `later_system` is
    one in mid-conversation, `lasting_system` one where the last message is not the user's, and
    `lone_system` one without another message.

    Roles: `two_users` and `two_assistants` are messages of one role in a row. `user_after_result`
    is a message of the user behind the result of a tool. `empty_answers` are messages of the
    assistant without text; `assistant_first` is one before any of the user. `part_roles` have their
    content as a list of parts. A template with `any_role` copies any name of a role.

    Tools: `empty_tools` stands for no tools. A template without `bare_tools` fails for tools or
    parameters that lack a description, or tools without parameters; one without `nullable_types`
    for a parameter whose type is a list with "null".

    Calls: `arguments` is the form of a call's arguments; `broken_arguments` are those that are no
    JSON. `empty_content` are the forms that an empty content may have beside calls. A template
    without `text_beside_calls` shows text and calls only in two messages; one without
    `several_calls` takes only one call in a message. `short_call_ids` are the ids of nine letters
    and digits that Mistral's templates ask for. `lone_results` are results of no call.

    `reasoning` is the member of a message that holds earlier reasoning, or a "part" of its content.
    `switches` are variables that turn thinking on and off, each with its values for off and on.
    `efforts` are variables for the effort of thinking, each with its value for an effort.
    """

    is_probed: bool = True
    system: bool = True
    two_systems: bool = True
    later_system: bool = True
    lasting_system: bool = True
    lone_system: bool = True
    developer: bool = False
    any_role: bool = False
    two_users: bool = True
    two_assistants: bool = True
    user_after_result: bool = True
    empty_answers: bool = True
    assistant_first: bool = True
    part_roles: tuple[str, ...] = ()
    tools: bool = True
    bare_tools: bool = True
    nullable_types: bool = True
    empty_tools: Literal["null", "list"] = "null"
    tool_calls: bool = True
    tool_results: bool = True
    lone_results: bool = True
    arguments: Literal["object", "text"] = "object"
    broken_arguments: bool = True
    empty_content: tuple[EmptyContent, ...] = ("null", "text", "absent")
    text_beside_calls: bool = True
    several_calls: bool = True
    short_call_ids: bool = False
    continues: bool = True
    documents: bool = True
    reasoning: ReasoningForm | None = None
    switches: Mapping[str, tuple[object, object]] = field(default_factory=dict)
    efforts: Mapping[str, Mapping[Effort, str]] = field(default_factory=dict)
    thinking_budget: bool = False

    @property
    def can_turn_off(self) -> bool:
        """Whether a variable keeps the model from thinking."""
        off = any(values.get("none") in NO_THINKING for values in self.efforts.values())
        return bool(self.switches) or off or self.thinking_budget

    def __str__(self) -> str:
        """A line for the log."""
        features = [
            ("system messages", self.system),
            ("several system messages", self.two_systems),
            ("later system messages", self.later_system),
            ("developer messages", self.developer),
            ("tools", self.tools),
            ("tool calls", self.tool_calls),
            ("tool results", self.tool_results),
            (f"earlier reasoning ({self.reasoning})", self.reasoning is not None),
        ]
        known = ", ".join(name for name, is_known in features if is_known)
        unknown = ", ".join(name.partition(" (")[0] for name, is_known in features if not is_known)
        thinking = [*self.switches, *self.efforts, *["thinking_budget"] * self.thinking_budget]
        return (
            f"knows {known or 'only text'}; not {unknown or '-'}; "
            f"variables for thinking: {', '.join(thinking) or '-'}"
        )

    def describe(self) -> dict[str, object]:
        """The members, for /v1/config."""
        return asdict(self)
