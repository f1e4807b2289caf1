"""POST embeddings: JSON -> an EmbeddingRequest, vectors -> JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from server.errors import InvalidRequestError, describe_value
from server.payloads import EmbeddingRequest, EmbeddingResponse
from server.protocol.embeddings.embedding_call import (
    EmbeddingCall,
    Inputs,
    parse_inputs,
)
from server.protocol.embeddings.numbers import as_base64, as_floats
from server.protocol.field_rules import FieldRules, Refused
from server.protocol.json_text import json_string
from server.protocol.text_fields import MAX_COUNT, TEXT_HINTS, Salt, parse_limit
from server.protocol.validation import validate_fields

__all__ = [
    "EMBEDDINGS",
    "EmbeddingFields",
    "EmbeddingList",
    "EmbeddingUsage",
    "parse_embeddings",
    "parse_encoding_format",
    "usage_json",
]

EMBEDDINGS = FieldRules(
    {
        **TEXT_HINTS,
        "add_special_tokens": Refused("send token ids as the input", (True,)),
        "embed_dtype": Refused("numbers are 32-bit floats", ("float32",)),
        "endianness": Refused("bytes are little-endian", ("native", "little")),
        "messages": Refused("only texts and token ids are embedded", ([],)),
        "normalize": Refused("the graph decides: `normalize_embeddings`", (True,)),
        "task": Refused("use `input_type` or `prompt_name`", ("embed",)),
        "truncation_side": Refused("a long text is cut at its end", ("right",)),
        "use_activation": Refused("the graph decides: `normalize_embeddings`", (True,)),
    }
)

EncodingFormat = Annotated[Any, WithJsonSchema({"enum": ["float", "base64"]})]


class EmbeddingFields(BaseModel):
    """Texts or token ids to embed; null and missing are the same.

    At most one of `instruction`, `prompt_name` and `input_type` chooses what is put before texts.
    """

    model_config = ConfigDict(
        strict=True, extra="allow", frozen=True, json_schema_extra=EMBEDDINGS.describe
    )

    model: str
    input: Inputs
    encoding_format: EncodingFormat = None
    dimensions: int | None = Field(None, ge=1, le=MAX_COUNT)
    truncate_prompt_tokens: int | None = Field(None, ge=-1, le=MAX_COUNT)
    instruction: str | None = None
    prompt_name: str | None = None
    input_type: str | None = None
    cache_salt: Salt | None = None


class EmbeddingObject(BaseModel):
    """The vector of one input: numbers, or their bytes in base64."""

    object: Literal["embedding"]
    embedding: list[float] | str
    index: int


class EmbeddingUsage(BaseModel):
    """The tokens that the model read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """The vectors in the order of the inputs."""

    object: Literal["list"]
    data: list[EmbeddingObject]
    model: str
    usage: EmbeddingUsage


@dataclass(frozen=True)
class _OpenAICall(EmbeddingCall):
    is_base64: bool

    def answer(self, response: EmbeddingResponse) -> Iterator[bytes]:
        write = as_base64 if self.is_base64 else as_floats
        yield b'{"object":"list","data":['
        for index, embedding in enumerate(response.embeddings):
            yield b',{"object":"embedding","embedding":'[not index :]
            yield from write(embedding)
            yield b',"index":%d}' % index
        name, usage = json_string(self.model).encode(), usage_json(response)
        yield b'],"model":%b,"usage":%b}' % (name, usage)


def parse_embeddings(body: Mapping[str, Any]) -> EmbeddingCall:
    """Parse a request body. Raises InvalidRequestError."""
    if "input" not in body:
        raise InvalidRequestError("input field is required", "input")
    # Null as well gets the sentence that says what is possible.
    inputs = parse_inputs(body["input"])
    fields = validate_fields(EmbeddingFields, body, EMBEDDINGS)
    request = EmbeddingRequest(
        inputs=inputs,
        dimensions=fields.dimensions,
        max_tokens=parse_limit(fields.truncate_prompt_tokens),
        instruction=fields.instruction,
        prompt_name=fields.prompt_name,
        input_type=fields.input_type,
        cache_salt=fields.cache_salt or "",
    )
    return _OpenAICall(
        fields.model,
        request,
        is_base64=parse_encoding_format(fields.encoding_format),
        unknown_fields=EMBEDDINGS.unknown_fields(fields),
    )


def parse_encoding_format(value: object) -> bool:
    """Whether vectors are wanted in base64. Raises InvalidRequestError."""
    if value is None or value in ("float", "base64"):
        return value == "base64"
    expected = "either base64 or float" if isinstance(value, str) else "be string"
    problem = f"encoding_format should {expected}, found {describe_value(value)}"
    raise InvalidRequestError(problem, "encoding_format")


def usage_json(response: EmbeddingResponse) -> bytes:
    """The members of EmbeddingUsage."""
    num_tokens = response.num_tokens
    return b'{"prompt_tokens":%d,"total_tokens":%d}' % (num_tokens, num_tokens)
