"""What /messages answers with: the message, and Anthropic's form of an error."""

from typing import Any, Literal

from pydantic import BaseModel

from server.protocol.generation_call import Usage

__all__ = [
    "ContentBlock",
    "ErrorMessage",
    "MessageObject",
    "MessageUsage",
    "StopReason",
    "TextBlock",
    "ThinkingBlock",
    "TokenCount",
    "ToolUseBlock",
    "error_message",
]

StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"
]

# Clients drop thinking without a signature from the history. There is nothing to sign here.
SIGNATURE = "unsigned"

# The type of an error by HTTP status; https://docs.claude.com/en/api/errors.
ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
}


class TextBlock(BaseModel):
    """Text of the answer."""

    type: Literal["text"] = "text"
    text: str


class ThinkingBlock(BaseModel):
    """The reasoning before the answer."""

    type: Literal["thinking"] = "thinking"
    thinking: str
    signature: str = SIGNATURE


class ToolUseBlock(BaseModel):
    """A call of a tool that the model asks for."""

    type: Literal["tool_use"] = "tool_use"
    id: str
    name: str
    input: dict[str, Any]


ContentBlock = TextBlock | ThinkingBlock | ToolUseBlock


class OutputTokensDetails(BaseModel):
    """`thinking_tokens` are among the output tokens."""

    thinking_tokens: int


class MessageUsage(BaseModel):
    """Token counts. `input_tokens` are without those that came from the prefix cache."""

    input_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: OutputTokensDetails

    @classmethod
    def make(cls, usage: Usage, num_thinking_tokens: int = 0) -> "MessageUsage":
        """The counts of a chat completion, in this form."""
        num_cached = usage["prompt_tokens_details"]["cached_tokens"]
        return cls(
            input_tokens=usage["prompt_tokens"] - num_cached,
            cache_read_input_tokens=num_cached,
            output_tokens=usage["completion_tokens"],
            output_tokens_details=OutputTokensDetails(thinking_tokens=num_thinking_tokens),
        )


class MessageObject(BaseModel):
    """The answer. `stop_reason` is null at the start of a stream."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[ContentBlock] = []
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    usage: MessageUsage


class TokenCount(BaseModel):
    """How many tokens the prompt of a message has."""

    input_tokens: int


class _Error(BaseModel):
    type: str
    message: str


class ErrorMessage(BaseModel):
    """Anthropic's form of an error."""

    type: Literal["error"] = "error"
    error: _Error


def error_message(status: int, message: str) -> dict[str, Any]:
    """The body of an error with this HTTP status."""
    kind = ERROR_TYPES.get(status, "invalid_request_error")
    return ErrorMessage(error=_Error(type=kind, message=message)).model_dump()
