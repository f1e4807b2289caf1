"""The fields that all endpoints for embeddings and scores have."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from server.errors import InvalidRequestError
from server.protocol.field_rules import Hint, Rule

__all__ = ["MAX_COUNT", "MAX_TOKEN_ID", "TEXT_HINTS", "TOKEN_IDS", "Salt", "parse_limit"]

MAX_COUNT = 2**31 - 1
MAX_TOKEN_ID = 2**31 - 1

Salt = Annotated[str, Field(min_length=1, max_length=256)]
"""A `cache_salt`."""

TOKEN_IDS: Mapping[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "integer", "minimum": 0, "maximum": MAX_TOKEN_ID},
}
"""The JSON schema of the token ids of one text."""

TEXT_HINTS: Mapping[str, Rule] = {
    "mm_processor_kwargs": Hint("only texts are served", dict),
    "priority": Hint("all requests take turns"),
    "request_id": Hint("the server makes an id for each answer (vLLM)", str),
    "user": Hint("names the caller", str),
}


def parse_limit(value: int | None) -> int | None:
    """The value of `truncate_prompt_tokens`. Raises InvalidRequestError for 0."""
    if value == 0:
        name = "truncate_prompt_tokens"
        raise InvalidRequestError(f"{name} is 0; it must be at least 1, or -1", name)
    return value
