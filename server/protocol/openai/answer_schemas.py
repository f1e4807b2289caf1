"""The types of OpenAI's answers, for /openapi.json; the small answers are made from them."""

from typing import Any, Literal

from pydantic import BaseModel

from server.host.version import DISTRIBUTION
from server.payloads import FinishReason
from server.protocol.model_status import VersionStatus

__all__ = ["ChatCompletion", "Completion", "ErrorAnswer", "Model", "ModelList", "ModelWithVersions"]


class ErrorObject(BaseModel):
    """What went wrong. `param` is the field of the request, where it is known."""

    message: str
    type: Literal[
        "invalid_request_error", "rate_limit_error", "server_error", "service_unavailable"
    ]
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """OpenAI's form of an error."""

    error: ErrorObject


class Model(BaseModel):
    """A model that can serve. `created` is when it was loaded.

    As in vLLM, `max_model_len` is the most tokens of prompt and answer together; null where the
    graph does not say it. `parent` is the model that an adapter belongs to, and `root` its file or
    folder, null where that is not known. Of a model, `parent` is null and `root` its id.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    max_model_len: int | None
    root: str | None = None
    parent: str | None = None
    owned_by: str = DISTRIBUTION


class ModelWithVersions(Model):
    """OpenAI's model object, with TensorFlow Serving's status: both have the same path."""

    model_version_status: list[VersionStatus]


class ModelList(BaseModel):
    """The models that can serve now."""

    object: Literal["list"] = "list"
    data: list[Model]


class PromptTokensDetails(BaseModel):
    """`cached_tokens` were computed for an earlier request."""

    cached_tokens: int


class Usage(BaseModel):
    """Token counts of a request, all choices together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class ToolCallFunction(BaseModel):
    """The function to call; `arguments` are the text of a JSON object."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    """A call of a tool that the model asks for."""

    id: str
    type: Literal["function"]
    function: ToolCallFunction


class ChatMessage(BaseModel):
    """What the model said. `content` is null where there are only tool calls."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str = ""
    tool_calls: list[ToolCall] = []


class DecodedLogprob(BaseModel):
    """The log probability of a token of the prompt."""

    logprob: float
    decoded_token: str


# For each token of the prompt by token id; null for the first one.
PromptLogprobs = list[dict[str, DecodedLogprob] | None] | None


class ChatChoice(BaseModel):
    """One of the answers to a conversation."""

    index: int
    message: ChatMessage
    logprobs: dict[str, Any] | None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    """The answer to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    prompt_logprobs: PromptLogprobs = None


class CompletionChoice(BaseModel):
    """One of the texts that continue a prompt. `token_ids`, as vLLM has them, if asked for."""

    index: int
    text: str
    token_ids: list[int] | None = None
    logprobs: dict[str, Any] | None
    finish_reason: FinishReason
    prompt_logprobs: PromptLogprobs = None


class Completion(BaseModel):
    """The texts that continue the prompts."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
