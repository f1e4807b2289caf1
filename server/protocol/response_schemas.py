"""The types of answers, as /openapi.json tells them; those that are small are made from them."""

from typing import Any, Literal

from pydantic import BaseModel, RootModel

from server.payloads import FinishReason
from server.version import DISTRIBUTION

__all__ = [
    "ChatCompletion",
    "Completion",
    "ErrorAnswer",
    "ErrorObject",
    "InferAnswer",
    "KServeError",
    "Model",
    "ModelList",
    "ModelMetadata",
    "ModelStatuses",
    "ServerMetadata",
    "TensorMetadata",
]


class ErrorObject(BaseModel):
    """What went wrong. `param` is the field of the request, where it is known."""

    message: str
    type: Literal["invalid_request_error", "server_error", "service_unavailable"]
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """OpenAI's form of an error."""

    error: ErrorObject


class Model(BaseModel):
    """A model that can serve. `created` is when it was loaded; `max_model_len`, as vLLM has it, is
    the most tokens of prompt and answer together, null where the graph does not say it.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    max_model_len: int | None
    owned_by: str = DISTRIBUTION


class ModelList(BaseModel):
    """The models that can be asked now."""

    object: Literal["list"] = "list"
    data: list[Model]


class VersionStatusCode(BaseModel):
    """Model Server's words for whether a version works."""

    error_code: Literal["OK", "FAILED_PRECONDITION"]
    error_message: Literal["OK", "FAILED_PRECONDITION"]


class VersionStatus(BaseModel):
    """The state of a version of a model.

    `reason` says why it cannot serve, or, where it can, why what changed could not be loaded.
    `nodes` is what the nodes of its graph tell of themselves, by their names.
    """

    version: str
    state: Literal["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
    status: VersionStatusCode
    reason: str | None = None
    nodes: dict[str, dict[str, Any]] | None = None


class ModelStatus(BaseModel):
    """The versions of a model."""

    model_version_status: list[VersionStatus]


class ModelStatuses(RootModel[dict[str, ModelStatus]]):
    """Every configured model by its name."""


class ServerMetadata(BaseModel):
    """KServe's description of a server."""

    name: str
    version: str
    extensions: list[str]


class KServeError(BaseModel):
    """KServe's form of an error."""

    error: str


class TensorMetadata(BaseModel):
    """KServe's description of an input or output; a dimension of -1 may be anything."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """KServe's description of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class OutputTensor(TensorMetadata):
    """A tensor that came out. `data` is flat; instead of it, `binary_data_size` may be there."""

    data: list[Any] | None = None
    parameters: dict[str, int] | None = None


class InferAnswer(BaseModel):
    """KServe's inference response."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


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
