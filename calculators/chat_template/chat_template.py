"""Renders a conversation to the text of a prompt, with the model's own Jinja template."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from calculators.chat_template.continuation import cut_behind, mark_end
from calculators.chat_template.message_forms import Message
from calculators.chat_template.normalise import normalise
from calculators.chat_template.probe import probe_template
from calculators.chat_template.render_job import Status
from calculators.chat_template.render_process import (
    DEFAULT_TIME_LIMIT_S,
    RenderFailure,
    TemplateSource,
)
from calculators.chat_template.sandbox import Sandbox
from calculators.chat_template.template_files import find_templates, read_special_tokens
from calculators.chat_template.template_traits import TemplateTraits
from calculators.chat_template.thinking import thinking_variables
from calculators.chat_template.tool_forms import complete_tools
from server.errors import InvalidRequestError, ModelLoadError
from server.payloads import ChatOptions

__all__ = ["ChatTemplate", "TextTooLongError", "load_chat_template"]

logger = logging.getLogger(__name__)

MAX_PROBE_TIME_S = 5.0

# Fields of the request, and arguments of transformers' apply_chat_template.
RESERVED_NAMES = frozenset({"messages", "tools", "documents", "chat_template", "tokenize"})
USUAL_ROLES = ("system", "developer", "user", "assistant", "tool")
BOOLEAN_NAMES = frozenset({"add_generation_prompt", "continue_final_message"})
_PROBLEMS = {
    Status.REFUSED: "the chat template refused: ",
    Status.LIMIT: "the chat template {name!r} was stopped: ",
    Status.TOO_LONG: "the chat template {name!r} was stopped: ",
    Status.FAILED: "the chat template cannot render these messages: ",
    Status.SYNTAX: "the chat template cannot be read: ",
}
SPECIAL_TOKEN_NAMES = frozenset(
    f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
)


class TextTooLongError(InvalidRequestError):
    """The prompt of a conversation has more than MAX_RENDERED_CHARACTERS."""


class ChatTemplate:
    """The chat template of one model, compiled and probed. Threads may share it.

    `sources` has the template named "default" and perhaps others; "tool_use" is taken for requests
    with tools. Raises ModelLoadError, with `origin` in its message, for a template with an error.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        special_tokens: Mapping[str, str],
        origin: str,
        time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    ) -> None:
        self._fixed_names = {*special_tokens, *Sandbox().globals}
        self._templates: dict[str, _Template] = {}
        for name, source in sources.items():
            try:
                self._templates[name] = _Template(name, source, special_tokens, time_limit_s)
            except RenderFailure as error:
                problem = error.of(f"the chat template {name!r}")
                raise ModelLoadError(f"{origin}: {problem}") from error

    @property
    def traits(self) -> Mapping[str, TemplateTraits]:
        """What each of the templates knows, by its name."""
        return {name: template.traits for name, template in self._templates.items()}

    def traits_for(self, tools: Sequence[object]) -> TemplateTraits:
        """The traits of the template that is used with these tools, or without tools."""
        return self._choose(bool(tools)).traits

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Message] = (),
        template_kwargs: Mapping[str, Any] | None = None,
        options: ChatOptions | None = None,
    ) -> str:
        """Return the prompt; raises InvalidRequestError for what the template refuses."""
        options = options or ChatOptions()
        template = self._choose(bool(tools))
        template_kwargs = template_kwargs or {}
        self._check_kwargs(template_kwargs)
        if options.documents and not template.traits.documents:
            raise InvalidRequestError(
                "documents: the chat template of this model does not show documents", "documents"
            )
        variables = {
            "documents": list(options.documents) or None,
            "add_generation_prompt": options.add_generation_prompt,
            **thinking_variables(
                template.traits, options.reasoning_effort, options.thinking_token_budget
            ),
            **template_kwargs,
        }
        template.check_roles(messages)
        normal = normalise(messages, template.traits)
        tools = complete_tools(tools, template.traits)
        now = datetime.now()
        if not variables.pop("continue_final_message", options.continue_final_message):
            return template.render(normal, tools, variables, now)
        variables["add_generation_prompt"] = False
        whole = template.render(normal, tools, variables, now)
        return cut_behind(whole, template.render(mark_end(normal), tools, variables, now))

    def _choose(self, has_tools: bool) -> "_Template":
        if has_tools and "tool_use" in self._templates:
            return self._templates["tool_use"]
        return self._templates["default"]

    def _check_kwargs(self, template_kwargs: Mapping[str, Any]) -> None:
        field = "chat_template_kwargs"
        for name, value in template_kwargs.items():
            if name in RESERVED_NAMES:
                problem = f"{field} has {name!r}, which is a field of the request itself"
                raise InvalidRequestError(problem, field)
            if name in SPECIAL_TOKEN_NAMES or name in self._fixed_names:
                problem = f"{field} has {name!r}, which belongs to the model and cannot be replaced"
                raise InvalidRequestError(problem, field)
            if name in BOOLEAN_NAMES and not isinstance(value, bool):
                problem = f"{field}.{name} is {value!r}; it must be true or false"
                raise InvalidRequestError(problem, field)


class _Template:
    """One compiled template."""

    def __init__(
        self, name: str, source: str, special_tokens: Mapping[str, str], time_limit_s: float
    ) -> None:
        self._name = name
        self._renderer = TemplateSource(source, time_limit_s)
        self._source = source
        self._special_tokens = dict(special_tokens)
        names = self._renderer.names()
        self.traits = replace(self._probe(), documents="documents" in names)
        self._warned = False

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Message],
        variables: Mapping[str, Any],
        now: datetime,
    ) -> str:
        """Return the text; raises InvalidRequestError for whatever the template does."""
        if tools and not self.traits.tools and not self._warned:
            self._warned = True
            logger.warning("A request has tools, but the chat template of the model shows none")
        without_tools: list[Message] | None = [] if self.traits.empty_tools == "list" else None
        try:
            return self._render(messages, list(tools) or without_tools, variables, now)
        except RenderFailure as error:
            problem = _PROBLEMS[error.status].format(name=self._name)
            kind = TextTooLongError if error.status is Status.TOO_LONG else InvalidRequestError
            raise kind(f"{problem}{error}", "messages") from error

    def check_roles(self, messages: Sequence[Message]) -> None:
        """Raise InvalidRequestError for a role that the template would drop without a word."""
        if self.traits.any_role or not self.traits.is_probed:
            return
        for i, message in enumerate(messages):
            role = message.get("role")
            if role not in USUAL_ROLES and str(role) not in self._source:
                raise InvalidRequestError(
                    f"messages[{i}].role is {str(role)[:100]!r}, which the chat template of this "
                    f"model does not know; possible: {', '.join(USUAL_ROLES)}",
                    "messages",
                )

    def _render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Message] | None,
        variables: Mapping[str, Any],
        now: datetime,
    ) -> str:
        lists = {"messages": messages} if tools is None else {"messages": messages, "tools": tools}
        set_here = {"documents": None, "add_generation_prompt": True, "tools": None}
        return self._renderer.render({**self._special_tokens, **set_here, **variables}, now, lists)

    def _probe(self) -> TemplateTraits:
        ends_at = time.monotonic() + MAX_PROBE_TIME_S
        now = datetime.now()

        def render(
            messages: Sequence[Message],
            tools: Sequence[Message] | None,
            variables: Mapping[str, Any],
        ) -> str | None:
            try:
                return self._render(messages, tools, variables, now)
            except RenderFailure as error:
                if error.status in (Status.LIMIT, Status.TOO_LONG) or time.monotonic() > ends_at:
                    raise
                return None

        try:
            return probe_template(render)
        except RenderFailure:
            return TemplateTraits(is_probed=False)


def load_chat_template(
    models_path: Path, file: Path | None = None, time_limit_s: float = DEFAULT_TIME_LIMIT_S
) -> ChatTemplate:
    """Read the template of a model folder; raises ModelLoadError when there is none to use.

    `file` has a template that is taken instead of the model's own.
    """
    sources, origin = find_templates(models_path, file)
    if "default" not in sources:
        found = f"; it has only {', '.join(sorted(sources))}" if sources else ""
        raise ModelLoadError(
            f"{origin}: the model has no chat template{found}. A template is the file "
            'chat_template.jinja, or "chat_template" in tokenizer_config.json, of the model'
        )
    template = ChatTemplate(sources, read_special_tokens(models_path), str(origin), time_limit_s)
    for name, traits in template.traits.items():
        if traits.is_probed:
            logger.info("Chat template %r of %s %s", name, origin, traits)
        else:
            logger.warning(
                "Chat template %r of %s cannot render even one message of a user; conversations "
                "are not rewritten",
                name,
                origin,
            )
    return template
