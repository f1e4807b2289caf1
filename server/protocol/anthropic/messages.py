"""POST messages: JSON -> the call of a chat completion with the same meaning."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.protocol.anthropic.conversation import chat_messages, chat_tool_choice, chat_tools
from server.protocol.anthropic.message_renderer import MessageRenderer
from server.protocol.field_rules import FieldRules, Hint, Refused
from server.protocol.generation_call import GenerationCall
from server.protocol.openai.chat_completions import parse_chat_completion
from server.protocol.validation import validate_fields

__all__ = ["RULES", "MessageFields", "PromptFields", "parse_message"]

# Hints about accounts, billing, caching and places of Anthropic's own service.
HINTS: Mapping[str, type] = {
    "cache_control": dict,
    "context_management": dict,
    "diagnostics": dict,
    "inference_geo": str,
    "metadata": dict,
    "service_tier": str,
    "speed": str,
    "user_profile_id": str,
    "workspace_id": str,
}
RULES = FieldRules(
    {
        **{name: Hint("it is about Anthropic's own service", kind) for name, kind in HINTS.items()},
        "container": Refused("no code is run here", ()),
        "mcp_servers": Refused("the server calls no tools itself", ([],)),
    }
)
EFFORTS = Literal["low", "medium", "high", "xhigh", "max"]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class Thinking(_Part):
    """Whether the model thinks before it answers, and for how many tokens at most."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, Field(ge=1)] | None = None
    display: str | None = None


class OutputFormat(_Part):
    """The schema that the answer follows."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(_Part):
    """How much the model thinks, and the form of its answer."""

    effort: EFFORTS | None = None
    format: OutputFormat | None = None


class PromptFields(BaseModel):
    """The fields that make the prompt."""

    model_config = ConfigDict(
        strict=True,
        extra="allow",
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra=RULES.describe,
    )

    model: str
    messages: list[Any]
    system: Any = None
    tools: list[Any] = Field(default_factory=list)
    tool_choice: dict[str, Any] | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)

    def chat_fields(self) -> dict[str, Any]:
        """These fields as those of a chat completion. Raises InvalidRequestError."""
        messages = chat_messages(self.system, self.messages)
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "tools": chat_tools(self.tools),
            "chat_template_kwargs": self.chat_template_kwargs,
            **self._thinking(),
        }
        if self.tool_choice is not None:
            fields |= chat_tool_choice(self.tool_choice)
        if messages[-1]["role"] == "assistant" and "tool_calls" not in messages[-1]:
            # Anthropic's models go on with a message of theirs at the end.
            fields |= {"continue_final_message": True, "add_generation_prompt": False}
        return fields

    def answer_format(self) -> OutputFormat | None:
        """The schema, in its newer or its older place."""
        config = self.output_config
        return (config and config.format) or self.output_format

    def _thinking(self) -> dict[str, Any]:
        """How much to think; what the request leaves open is up to the model."""
        effort = self.output_config and self.output_config.effort
        if self.thinking is None:
            return {"reasoning_effort": effort}
        if self.thinking.type == "disabled":
            return {"reasoning_effort": "none"}
        # Anthropic's own default.
        return {
            "reasoning_effort": effort or "high",
            "thinking_token_budget": self.thinking.budget_tokens,
        }


class MessageFields(PromptFields):
    """The fields of a message."""

    max_tokens: Annotated[int, Field(ge=1)]
    stop_sequences: list[str] = Field(default_factory=list)
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None

    def chat_fields(self) -> dict[str, Any]:
        fields = super().chat_fields()
        format_ = self.answer_format()
        if format_ is not None:
            schema = {"name": "answer", "schema": format_.schema_}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        return {
            **fields,
            "max_tokens": self.max_tokens,
            "stop": self.stop_sequences,
            "stream": self.stream,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k or None,
        }


def parse_message(body: Mapping[str, Any]) -> GenerationCall:
    """Parse a request body. Raises InvalidRequestError."""
    fields = validate_fields(MessageFields, body, RULES)
    chat = parse_chat_completion(fields.chat_fields())
    # The field is required, so that clients send whatever their own models can do.
    prompts = tuple(replace(prompt, reduce_max_tokens=True) for prompt in chat.prompts)
    renderer = MessageRenderer(f"msg_{uuid.uuid4().hex}", fields.model, fields.max_tokens)
    unknown_fields = RULES.unknown_fields(fields)
    return replace(chat, prompts=prompts, renderer=renderer, unknown_fields=unknown_fields)
