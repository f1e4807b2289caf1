"""The response object of /responses, with the members that OpenAI's clients read."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema

from server.protocol.generation_call import Usage

__all__ = [
    "ErrorCode",
    "FunctionCall",
    "IncompleteDetails",
    "OutputItem",
    "OutputMessage",
    "OutputText",
    "ReasoningItem",
    "ReasoningText",
    "ResponseError",
    "ResponseObject",
    "ResponseUsage",
    "Status",
]

Status = Literal["in_progress", "completed", "incomplete", "failed"]
ErrorCode = Literal["server_error", "invalid_prompt"]


class OutputText(BaseModel):
    """Text of a message."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any] = []
    # JSON already, where there may be many.
    logprobs: Annotated[Any, WithJsonSchema({"type": "array", "items": {"type": "object"}})] = (
        Field(default_factory=list)
    )


class OutputMessage(BaseModel):
    """What the model said."""

    id: str
    type: Literal["message"] = "message"
    status: Status
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class ReasoningText(BaseModel):
    """Text of a reasoning item."""

    type: Literal["reasoning_text"] = "reasoning_text"
    text: str


class ReasoningItem(BaseModel):
    """The reasoning before the answer."""

    id: str
    type: Literal["reasoning"] = "reasoning"
    status: Status
    summary: list[Any] = []
    content: list[ReasoningText]


class FunctionCall(BaseModel):
    """A call of a tool that the model asks for; `arguments` are the text of a JSON object."""

    id: str
    type: Literal["function_call"] = "function_call"
    status: Status
    call_id: str
    name: str
    arguments: str


OutputItem = OutputMessage | ReasoningItem | FunctionCall


class ResponseError(BaseModel):
    """Why a response failed."""

    code: ErrorCode
    message: str


class IncompleteDetails(BaseModel):
    """Why a response ended early."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class InputTokensDetails(BaseModel):
    """`cached_tokens` were computed for an earlier request; writing to the cache costs nothing."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(BaseModel):
    """`reasoning_tokens` are those of the reasoning items."""

    reasoning_tokens: int


class ResponseUsage(BaseModel):
    """Token counts."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def make(cls, usage: Usage, num_reasoning_tokens: int) -> "ResponseUsage":
        """The counts of a chat completion under the names that they have here."""
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        return cls(
            input_tokens=usage["prompt_tokens"],
            input_tokens_details=InputTokensDetails(cached_tokens=cached),
            output_tokens=usage["completion_tokens"],
            output_tokens_details=OutputTokensDetails(reasoning_tokens=num_reasoning_tokens),
            total_tokens=usage["total_tokens"],
        )


class ResponseObject(BaseModel):
    """A response. Members that repeat the request are null if the request did not set them."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Status = "in_progress"
    background: Literal[False] = False
    completed_at: int | None = None
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    model: str
    output: list[OutputItem] = []
    parallel_tool_calls: bool
    previous_response_id: None = None
    prompt_cache_key: str | None
    reasoning: dict[str, str | None]
    safety_identifier: str | None
    service_tier: Literal["default"] = "default"
    store: Literal[False] = False
    temperature: float | None
    text: dict[str, Any]
    tool_choice: Any
    tools: list[Any]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | None
