"""POST classify: JSON -> a ClassifyRequest, numbers -> JSON, as vLLM has it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from server.errors import InvalidRequestError
from server.payloads import ClassifyRequest, ScoringResponse
from server.protocol.field_rules import FieldRules, Refused, UnknownFields
from server.protocol.json_text import json_pieces
from server.protocol.refusal import expect, refuse_value
from server.protocol.scoring.scoring_fields import (
    SHARED,
    ScoringFields,
    ScoringUsage,
    list_head,
    usage,
)
from server.protocol.text_fields import MAX_TOKEN_ID, TOKEN_IDS
from server.protocol.validation import validate_fields

__all__ = ["CLASSIFY", "ClassifyAnswer", "ClassifyCall", "ClassifyFields", "parse_classify"]

CLASSIFY = FieldRules({**SHARED, "messages": Refused("send a text as `input`", ([],))})

Input = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                TOKEN_IDS,
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {"anyOf": [{"type": "string"}, TOKEN_IDS]},
                },
            ]
        }
    ),
]


class ClassifyFields(ScoringFields):
    """A text, token ids, or a list of either."""

    model_config = ConfigDict(json_schema_extra=CLASSIFY.describe)

    input: Input
    add_special_tokens: bool = True


class Classification(BaseModel):
    """The likeliest label of an input, and a number for each label of the model."""

    index: int
    label: str
    probs: list[float]
    num_classes: int


class ClassifyAnswer(BaseModel):
    """The classifications in the order of the inputs."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Classification]
    usage: ScoringUsage


@dataclass(frozen=True, slots=True)
class ClassifyCall:
    """A parsed request, and how its answer is written."""

    model: str
    request: ClassifyRequest
    unknown_fields: UnknownFields

    def answer(self, response: ScoringResponse) -> Iterator[bytes]:
        """The body of the answer, in pieces."""
        data = [
            {
                "index": i,
                "label": response.labels[row.index(max(row))],
                "probs": row,
                "num_classes": len(row),
            }
            for i, row in enumerate(response.rows)
        ]
        return json_pieces(
            {**list_head("classify", self.model), "data": data, "usage": usage(response)}
        )


def parse_classify(body: Mapping[str, Any]) -> ClassifyCall:
    """Parse a request body. Raises InvalidRequestError."""
    fields = validate_fields(ClassifyFields, body, CLASSIFY)
    request = ClassifyRequest(
        use_activation=fields.use_activation,
        truncate_prompt_tokens=fields.limit(),
        cache_salt=fields.cache_salt or "",
        inputs=_inputs(fields.input),
        add_special_tokens=fields.add_special_tokens,
    )
    return ClassifyCall(fields.model, request, CLASSIFY.unknown_fields(fields))


def _inputs(value: object) -> tuple[str | tuple[int, ...], ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        refuse_value("input", "must be a string, token ids, or a list of either", value)
    if not value:
        raise InvalidRequestError("input is an empty list", "input")
    if isinstance(value[0], int):
        return (_token_ids(value, "input"),)
    return tuple(
        _token_ids(item, f"input[{i}]")
        if isinstance(item, list)
        else expect(str, item, f"input[{i}]")
        for i, item in enumerate(value)
    )


def _token_ids(items: list[Any], where: str) -> tuple[int, ...]:
    if not items:
        raise InvalidRequestError(f"{where} has no tokens", "input")
    for i, item in enumerate(items):
        if type(item) is not int or not 0 <= item <= MAX_TOKEN_ID:
            refuse_value(f"{where}[{i}]", f"must be a token id from 0 to {MAX_TOKEN_ID}", item)
    return tuple(items)
