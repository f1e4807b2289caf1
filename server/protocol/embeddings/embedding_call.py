"""A parsed request for embeddings, and its inputs."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import WithJsonSchema

from server.errors import InvalidRequestError, describe_value
from server.payloads import EmbeddingRequest, EmbeddingResponse
from server.protocol.field_rules import NO_FIELDS, UnknownFields
from server.protocol.text_fields import MAX_TOKEN_ID, TOKEN_IDS

__all__ = [
    "EmbeddingCall",
    "Inputs",
    "parse_inputs",
]

MAX_INPUTS = 100_000

Inputs = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "minItems": 1, "items": {"type": "string"}},
                TOKEN_IDS,
                {"type": "array", "minItems": 1, "items": TOKEN_IDS},
            ]
        }
    ),
]


@dataclass(frozen=True)
class EmbeddingCall(ABC):
    """What to run, for which model; and what writes the answer."""

    model: str
    request: EmbeddingRequest
    unknown_fields: UnknownFields = field(default=NO_FIELDS, kw_only=True)

    @abstractmethod
    def answer(self, response: EmbeddingResponse) -> Iterable[bytes]:
        """The answer as pieces of JSON; may take long. Raises InvalidRequestError."""


def parse_inputs(value: object) -> tuple[str | tuple[int, ...], ...]:
    """One input or several; all texts, or all token ids. Raises InvalidRequestError."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        found = describe_value(value)
        problem = f"input should be string, array of strings or array of integers, found {found}"
        raise InvalidRequestError(problem, "input")
    if not value:
        raise InvalidRequestError("input is empty: input array should not be empty", "input")
    kinds = set(map(type, value))
    if kinds == {str}:
        return tuple(_within_limit(value))
    if kinds == {int}:
        return (_token_ids(value, "input"),)
    if kinds == {list}:
        return tuple(_token_ids(ids, f"input[{i}]") for i, ids in enumerate(_within_limit(value)))
    wrong = next((item for item in value if type(item) is not type(value[0])), value[0])
    raise InvalidRequestError(
        "input must be homogeneous: every element in input array should be string, or every one "
        f"int, or every one an array of int; found {describe_value(wrong)}",
        "input",
    )


def _within_limit(inputs: Sequence[Any]) -> Sequence[Any]:
    if len(inputs) > MAX_INPUTS:
        problem = f"input has {len(inputs)} items; at most {MAX_INPUTS} are possible"
        raise InvalidRequestError(problem, "input")
    return inputs


def _token_ids(ids: Sequence[Any], where: str) -> tuple[int, ...]:
    if not ids:
        raise InvalidRequestError(f"{where} is empty: input array should not be empty", "input")
    # Not one by one: there may be millions.
    if set(map(type, ids)) != {int} or min(ids) < 0 or max(ids) > MAX_TOKEN_ID:
        wrong = next(i for i in ids if type(i) is not int or not 0 <= i <= MAX_TOKEN_ID)
        problem = f"{where} holds {describe_value(wrong)}; every element should be a token id"
        raise InvalidRequestError(problem, "input")
    return tuple(ids)
