"""POST embed, as Cohere has it: JSON -> an EmbeddingRequest, vectors -> JSON.

https://docs.cohere.com/reference/embed
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from server.errors import InvalidRequestError, describe_value
from server.payloads import Embedding, EmbeddingRequest, EmbeddingResponse
from server.protocol.embeddings.embedding_call import EmbeddingCall
from server.protocol.embeddings.numbers import FORMS, as_floats
from server.protocol.field_rules import FieldRules, Refused
from server.protocol.json_text import json_bytes, json_pieces
from server.protocol.refusal import expect, refuse_value
from server.protocol.text_fields import MAX_COUNT, TEXT_HINTS, Salt, parse_limit
from server.protocol.validation import validate_fields

__all__ = ["EMBED", "EmbedAnswer", "EmbedFields", "parse_embed"]

MAX_TEXTS = 100_000

EMBED = FieldRules(
    {
        **{name: rule for name, rule in TEXT_HINTS.items() if name != "user"},
        "images": Refused("only texts are served", ([],)),
    }
)

Texts = Annotated[
    Any, WithJsonSchema({"type": "array", "minItems": 1, "items": {"type": "string"}})
]
Contents = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["content"],
                "properties": {
                    "content": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["type", "text"],
                            "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
                        },
                    }
                },
            },
        }
    ),
]
Truncate = Annotated[Any, WithJsonSchema({"enum": ["NONE", "START", "END"]})]
Types = Annotated[
    Any, WithJsonSchema({"type": "array", "items": {"enum": [*FORMS]}, "minItems": 1})
]


class EmbedFields(BaseModel):
    """Texts to embed: `texts`, or `inputs` with parts. Null and missing are the same."""

    model_config = ConfigDict(
        strict=True, extra="allow", frozen=True, json_schema_extra=EMBED.describe
    )

    model: str
    texts: Texts = None
    inputs: Contents = None
    input_type: str | None = None
    embedding_types: Types = None
    truncate: Truncate = None
    output_dimension: int | None = Field(None, ge=1, le=MAX_COUNT)
    max_tokens: int | None = Field(None, ge=-1, le=MAX_COUNT)
    cache_salt: Salt | None = None


class EmbedAnswer(BaseModel):
    """The vectors by type: for each type, a list of numbers for each text, or its base64.

    The older form without types has a list of numbers for each text.
    """

    id: str
    embeddings: dict[str, list[Any]] | list[list[float]]
    texts: list[str]
    meta: dict[str, Any]
    response_type: Literal["embeddings_by_type", "embeddings_floats"]


@dataclass(frozen=True)
class _CohereCall(EmbeddingCall):
    """Without `types`, the answer has the older form."""

    types: Sequence[str] | None
    api_version: str

    def answer(self, response: EmbeddingResponse) -> Iterator[bytes]:
        yield b'{"id":"%b","embeddings":' % uuid.uuid4().hex.encode()
        if self.types is None:
            yield from _list(as_floats, response)
        else:
            for index, name in enumerate(self.types):
                yield b'%b"%b":' % (b"," if index else b"{", name.encode())
                yield from _list(FORMS[name], response)
            yield b"}"
        meta = {
            "api_version": {"version": self.api_version},
            "billed_units": {"input_tokens": response.num_tokens},
        }
        kind = b"embeddings_floats" if self.types is None else b"embeddings_by_type"
        yield b',"texts":'
        yield from json_pieces(self.request.inputs)
        yield b',"meta":%b,"response_type":"%b"}' % (json_bytes(meta), kind)


def parse_embed(body: Mapping[str, Any], api_version: str) -> EmbeddingCall:
    """Parse a request body of version "1" or "2". Raises InvalidRequestError."""
    fields = validate_fields(EmbedFields, body, EMBED)
    types = _parse_types(fields.embedding_types)
    if types is None and api_version != "1":
        types = ("float",)
    request = EmbeddingRequest(
        inputs=tuple(_parse_texts(fields)),
        dimensions=fields.output_dimension,
        truncation=_parse_truncate(fields.truncate),
        max_tokens=parse_limit(fields.max_tokens),
        input_type=fields.input_type,
        cache_salt=fields.cache_salt or "",
    )
    return _CohereCall(
        fields.model, request, types, api_version, unknown_fields=EMBED.unknown_fields(fields)
    )


def _list(
    write: Callable[[Embedding], Iterator[bytes]], response: EmbeddingResponse
) -> Iterator[bytes]:
    yield b"["
    for index, embedding in enumerate(response.embeddings):
        yield b"," if index else b""
        yield from write(embedding)
    yield b"]"


def _parse_texts(fields: EmbedFields) -> list[str]:
    if (fields.texts is None) == (fields.inputs is None):
        raise InvalidRequestError("exactly one of texts and inputs is needed", "texts")
    name = "texts" if fields.inputs is None else "inputs"
    items = expect(list, fields.texts if fields.inputs is None else fields.inputs, name)
    if not items:
        raise InvalidRequestError(f"{name} is an empty list", name)
    if len(items) > MAX_TEXTS:
        problem = f"{name} has {len(items)} items; at most {MAX_TEXTS} are possible"
        raise InvalidRequestError(problem, name)
    if fields.inputs is None:
        return [expect(str, text, f"texts[{i}]") for i, text in enumerate(items)]
    return [_text_of(item, f"inputs[{i}]") for i, item in enumerate(items)]


def _text_of(item: object, where: str) -> str:
    parts = expect(list, expect(dict, item, where).get("content"), f"{where}.content")
    texts = []
    for i, part in enumerate(parts):
        place = f"{where}.content[{i}]"
        kind = expect(dict, part, place).get("type")
        if kind != "text":
            refuse_value(f"{place}.type", 'must be "text", as only texts are served', kind)
        texts.append(expect(str, part.get("text"), f"{place}.text"))
    if not texts:
        raise InvalidRequestError(f"{where}.content is an empty list", "inputs")
    return "\n".join(texts)


def _parse_types(value: object) -> Sequence[str] | None:
    if value is None:
        return None
    names = expect(list, value, "embedding_types")
    for i, name in enumerate(names):
        if not isinstance(name, str) or name not in FORMS:
            problem = f"embedding_types[{i}] is {describe_value(name)}; possible: "
            raise InvalidRequestError(problem + ", ".join(FORMS), "embedding_types")
    return tuple(dict.fromkeys(names)) or None


def _parse_truncate(value: object) -> Literal["none", "start", "end"]:
    """Cohere's default is END."""
    found: dict[object, Literal["none", "start", "end"]] = {
        None: "end",
        "NONE": "none",
        "START": "start",
        "END": "end",
    }
    truncation = found.get(value) if value is None or isinstance(value, str) else None
    if truncation is None:
        problem = f"truncate is {describe_value(value)}; possible: NONE, START, END"
        raise InvalidRequestError(problem, "truncate")
    return truncation
