"""What the three endpoints that score texts have in common."""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from server.errors import InvalidRequestError
from server.payloads import ScoringResponse
from server.protocol.field_rules import Alias, Refused, Rule
from server.protocol.refusal import expect
from server.protocol.text_fields import MAX_COUNT, TEXT_HINTS, Salt, parse_limit

__all__ = [
    "SHARED",
    "Count",
    "ScoringFields",
    "ScoringUsage",
    "as_list",
    "list_head",
    "make_id",
    "usage",
]

Count = Annotated[int, Field(ge=1)]

SHARED: Mapping[str, Rule] = {
    **TEXT_HINTS,
    "activation": Alias("use_activation"),
    "padding": Refused("padding never changes an answer here", ("do_not_pad",)),
    "truncation_side": Refused("a long text can only be cut at its end", ("right",)),
}


class ScoringFields(BaseModel):
    """The fields that all of them take; null and missing are the same."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False)

    model: str
    use_activation: bool | None = None
    truncate_prompt_tokens: int | None = Field(None, ge=-1, le=MAX_COUNT)
    cache_salt: Salt | None = None

    def limit(self) -> int | None:
        """The value of `truncate_prompt_tokens`. Raises InvalidRequestError for 0."""
        return parse_limit(self.truncate_prompt_tokens)


class ScoringUsage(BaseModel):
    """The tokens that the model read."""

    prompt_tokens: int
    total_tokens: int


def usage(response: ScoringResponse) -> dict[str, int]:
    """The members of ScoringUsage."""
    return {"prompt_tokens": response.num_tokens, "total_tokens": response.num_tokens}


def make_id(prefix: str) -> str:
    """The id of a new answer."""
    return f"{prefix}-{uuid.uuid4().hex}"


def list_head(prefix: str, model: str) -> dict[str, Any]:
    """The first members of vLLM's lists."""
    return {
        "id": make_id(prefix),
        "object": "list",
        "created": int(time.time()),
        "model": model,
    }


def as_list(value: object, name: str) -> Sequence[str]:
    """A text, or several, as several. Raises InvalidRequestError for anything else."""
    texts = value if isinstance(value, list) else [value]
    if not texts:
        raise InvalidRequestError(f"{name} is an empty list", name)
    if value is not texts:
        return [expect(str, value, name)]
    return [expect(str, text, f"{name}[{i}]") for i, text in enumerate(texts)]
