"""POST score: JSON -> a RerankRequest, scores -> JSON, as vLLM has it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, WithJsonSchema

from server.errors import InvalidRequestError
from server.payloads import RerankRequest, ScoringResponse
from server.protocol.field_rules import FieldRules, UnknownFields
from server.protocol.json_text import json_pieces
from server.protocol.scoring.scoring_fields import (
    SHARED,
    ScoringFields,
    ScoringUsage,
    as_list,
    list_head,
    usage,
)
from server.protocol.validation import validate_fields

__all__ = ["SCORE", "ScoreAnswer", "ScoreCall", "ScoreFields", "parse_score"]

SCORE = FieldRules(SHARED)

# vLLM has these names for the two sides.
SIDES = (
    ("text_1", "text_2"),
    ("queries", "documents"),
    ("queries", "items"),
    ("data_1", "data_2"),
)
Texts = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "minItems": 1, "items": {"type": "string"}},
                {"type": "null"},
            ]
        }
    ),
]


class ScoreFields(ScoringFields):
    """Pairs of texts to score, in one of the forms that vLLM has names for.

    The first side is one text or as many as the second one.
    """

    model_config = ConfigDict(json_schema_extra=SCORE.describe)

    text_1: Texts = None
    text_2: Texts = None
    queries: Texts = None
    documents: Texts = None
    items: Texts = None
    data_1: Texts = None
    data_2: Texts = None
    instruction: str | None = None


class Score(BaseModel):
    """The score of a pair."""

    index: int
    object: Literal["score"]
    score: float


class ScoreAnswer(BaseModel):
    """The scores in the order of the pairs."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Score]
    usage: ScoringUsage


@dataclass(frozen=True, slots=True)
class ScoreCall:
    """A parsed request, and how its answer is written."""

    model: str
    request: RerankRequest
    unknown_fields: UnknownFields

    def answer(self, response: ScoringResponse) -> Iterator[bytes]:
        """The body of the answer, in pieces."""
        data = [
            {"index": i, "object": "score", "score": row[0]} for i, row in enumerate(response.rows)
        ]
        return json_pieces(
            {**list_head("score", self.model), "data": data, "usage": usage(response)}
        )


def parse_score(body: Mapping[str, Any]) -> ScoreCall:
    """Parse a request body. Raises InvalidRequestError."""
    fields = validate_fields(ScoreFields, body, SCORE)
    request = RerankRequest(
        use_activation=fields.use_activation,
        truncate_prompt_tokens=fields.limit(),
        cache_salt=fields.cache_salt or "",
        pairs=tuple(_pairs(fields)),
        is_probability=False,
        instruction=fields.instruction,
    )
    return ScoreCall(fields.model, request, SCORE.unknown_fields(fields))


def _pairs(fields: ScoreFields) -> Sequence[tuple[str, str]]:
    names = _sides(fields)
    first, second = (as_list(getattr(fields, name), name) for name in names)
    if len(first) == 1:
        return [(first[0], text) for text in second]
    if len(first) != len(second):
        raise InvalidRequestError(
            f"{names[0]} has {len(first)} texts and {names[1]} {len(second)}; Input lengths must "
            "be either 1:1, 1:N or N:N",
            names[0],
        )
    return list(zip(first, second, strict=True))


def _sides(fields: ScoreFields) -> tuple[str, str]:
    """The names of the two fields that are set."""
    possible = {name for sides in SIDES for name in sides}
    found = {name for name in possible if getattr(fields, name) is not None}
    for sides in SIDES:
        if found == {*sides}:
            return sides
    forms = ", ".join(" with ".join(sides) for sides in SIDES)
    given = " and ".join(sorted(found)) or "none of them"
    raise InvalidRequestError(f"two sides are needed: {forms}; found {given}", "text_1")
