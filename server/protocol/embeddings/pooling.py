"""POST pooling: JSON -> an EmbeddingRequest, vectors -> JSON, as vLLM has it."""

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from server.errors import InvalidRequestError, describe_value
from server.payloads import EmbeddingRequest, EmbeddingResponse
from server.protocol.embeddings.embedding_call import EmbeddingCall, parse_inputs
from server.protocol.embeddings.embeddings import (
    EMBEDDINGS,
    EmbeddingFields,
    EmbeddingUsage,
    parse_encoding_format,
    usage_json,
)
from server.protocol.embeddings.numbers import as_base64, as_floats, as_matrix
from server.protocol.field_rules import FieldRules
from server.protocol.json_text import json_string
from server.protocol.text_fields import parse_limit
from server.protocol.validation import validate_fields

__all__ = ["POOLING", "PoolingFields", "PoolingList", "parse_pooling"]

POOLING = FieldRules({name: rule for name, rule in EMBEDDINGS.rules.items() if name != "task"})

TASKS = ("embed", "token_embed")


class PoolingFields(EmbeddingFields):
    """As for embeddings; with the task `token_embed` there is a vector for each token."""

    model_config = ConfigDict(json_schema_extra=POOLING.describe)

    task: Annotated[Any, WithJsonSchema({"enum": [*TASKS]})] = None


class PoolingObject(BaseModel):
    """The vector of one input, or those of its tokens."""

    index: int
    object: Literal["pooling"]
    data: list[float] | list[list[float]] | str


class PoolingList(BaseModel):
    """The vectors in the order of the inputs."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[PoolingObject]
    usage: EmbeddingUsage


@dataclass(frozen=True)
class _PoolingCall(EmbeddingCall):
    is_base64: bool

    def answer(self, response: EmbeddingResponse) -> Iterator[bytes]:
        write = as_matrix if self.request.of_tokens else as_floats
        if self.is_base64:
            write = as_base64
        yield b'{"id":"pool-%b","object":"list","created":%d,"model":%b,"data":[' % (
            uuid.uuid4().hex.encode(),
            int(time.time()),
            json_string(self.model).encode(),
        )
        for index, embedding in enumerate(response.embeddings):
            yield b"," if index else b""
            yield b'{"index":%d,"object":"pooling","data":' % index
            yield from write(embedding)
            yield b"}"
        yield b'],"usage":%b}' % usage_json(response)


def parse_pooling(body: Mapping[str, Any]) -> EmbeddingCall:
    """Parse a request body. Raises InvalidRequestError."""
    fields = validate_fields(PoolingFields, body, POOLING)
    if fields.task not in (None, *TASKS):
        problem = f"task is {describe_value(fields.task)}; possible: {', '.join(TASKS)}"
        raise InvalidRequestError(problem, "task")
    request = EmbeddingRequest(
        inputs=parse_inputs(fields.input),
        dimensions=fields.dimensions,
        max_tokens=parse_limit(fields.truncate_prompt_tokens),
        instruction=fields.instruction,
        prompt_name=fields.prompt_name,
        input_type=fields.input_type,
        cache_salt=fields.cache_salt or "",
        of_tokens=fields.task == "token_embed",
    )
    return _PoolingCall(
        fields.model,
        request,
        is_base64=parse_encoding_format(fields.encoding_format),
        unknown_fields=POOLING.unknown_fields(fields),
    )
