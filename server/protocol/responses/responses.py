"""POST responses: JSON -> GenerationRequest."""

import time
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.errors import InvalidRequestError
from server.payloads import ChatOptions, GenerationRequest, ReasoningEffort, SamplingFields
from server.protocol.field_table import RESPONSES
from server.protocol.generation_call import GenerationCall
from server.protocol.openai.field_schemas import ResponseInput, TextFormat, ToolChoice, Tools
from server.protocol.openai.generation_fields import Count, GenerationFields, ranged
from server.protocol.openai.response_format import parse_text_format
from server.protocol.openai.tool_choice import parse_tool_fields
from server.protocol.responses.response_input import parse_input
from server.protocol.responses.response_object import ResponseObject
from server.protocol.responses.response_renderer import ResponseRenderer
from server.protocol.validation import validate_fields

__all__ = ["ResponseFields", "parse_response"]

LOGPROBS = "message.output_text.logprobs"
# The others are about outputs that never occur here.
Include = Literal[
    "message.output_text.logprobs",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class TextConfig(_Part):
    """The `text` object."""

    format: TextFormat = None
    verbosity: str | None = None


class ReasoningConfig(_Part):
    """The `reasoning` object."""

    effort: ReasoningEffort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class ResponseFields(GenerationFields):
    """The fields of a response."""

    model_config = ConfigDict(json_schema_extra=RESPONSES.describe)

    input: ResponseInput
    instructions: str | None = None
    max_output_tokens: Count | None = Field(None, ge=1)
    top_logprobs: int | None = ranged("logprobs")
    include: list[Include] = Field(default_factory=list)
    max_tool_calls: int | None = None
    text: TextConfig = TextConfig()
    reasoning: ReasoningConfig = ReasoningConfig()
    tools: Tools = Field(default_factory=list)
    tool_choice: ToolChoice = None
    parallel_tool_calls: bool = True
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    thinking_token_budget: Count | None = Field(None, ge=-1)
    metadata: dict[str, str] = Field(default_factory=dict)
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    store: bool = True
    user: str | None = None

    def response_sampling(self) -> SamplingFields:
        """The sampling fields, some of which have other names here."""
        if self.n not in (None, 1):
            raise InvalidRequestError(f"n is {self.n}; a response has exactly one answer", "n")
        has_logprobs = LOGPROBS in self.include or bool(self.top_logprobs)
        return self.sampling(
            max_tokens=self.max_output_tokens,
            logprobs=(self.top_logprobs or 0) if has_logprobs else None,
        )

    def check_stream_options(self) -> None:
        """The token counts are always in the last event, and in no other."""
        self.has_usage_chunk()
        if self.has_continuous_usage():
            where = "stream_options.continuous_usage_stats"
            problem = f"{where} is not supported; it can only be false"
            raise InvalidRequestError(problem, where)


def parse_response(body: Mapping[str, Any]) -> GenerationCall:
    """Parse a request body. Raises InvalidRequestError."""
    fields = validate_fields(ResponseFields, body, RESPONSES)
    fields.check_stream_options()
    # Before the response object, which repeats tools that were checked.
    tool_fields = parse_tool_fields(fields.tools, fields.tool_choice, fields.parallel_tool_calls)
    response = _start_response(fields)
    unknown: list[str] = []
    text_format = parse_text_format(fields.text.format, unknown)
    request = GenerationRequest(
        request_id=response.id,
        messages=parse_input(fields.input, fields.instructions),
        chat_template_kwargs=fields.chat_template_kwargs,
        chat_options=ChatOptions(
            reasoning_effort=fields.reasoning.effort,
            thinking_token_budget=fields.thinking_token_budget,
        ),
        sampling=fields.response_sampling(),
        answer_format=fields.answer_format(text_format, unknown),
        **tool_fields,
        **fields.shared(),
    )
    return GenerationCall(
        model=fields.model,
        prompts=(request,),
        num_choices=1,
        stream=fields.stream,
        renderer=ResponseRenderer(response),
        unknown_fields=RESPONSES.unknown_fields(fields, unknown),
        field_names={"max_tokens": "max_output_tokens", "messages": "input", "prompt": "input"},
    )


def _start_response(fields: ResponseFields) -> ResponseObject:
    return ResponseObject(
        id=f"resp_{uuid.uuid4().hex}",
        created_at=int(time.time()),
        instructions=fields.instructions,
        max_output_tokens=fields.max_output_tokens,
        max_tool_calls=fields.max_tool_calls,
        metadata=fields.metadata,
        model=fields.model,
        parallel_tool_calls=fields.parallel_tool_calls,
        prompt_cache_key=fields.prompt_cache_key,
        reasoning={"effort": fields.reasoning.effort, "summary": fields.reasoning.summary},
        safety_identifier=fields.safety_identifier,
        temperature=fields.temperature,
        text={
            "format": fields.text.format or {"type": "text"},
            "verbosity": fields.text.verbosity or "medium",
        },
        tool_choice="auto" if fields.tool_choice is None else fields.tool_choice,
        tools=[_flatten(tool) for tool in fields.tools],
        top_logprobs=fields.top_logprobs or 0,
        top_p=fields.top_p,
        user=fields.user,
    )


def _flatten(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool in this endpoint's flat form; it may have come in that of chat/completions."""
    function = tool.get("function", tool)
    return {"type": "function", "parameters": None, "strict": None, **function}
