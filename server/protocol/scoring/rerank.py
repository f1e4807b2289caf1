"""POST rerank: JSON -> a RerankRequest, scores -> JSON.

The same fields serve the clients of OpenVINO Model Server, Cohere (v1 and v2), Jina and vLLM.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from server.errors import InvalidRequestError, describe_value
from server.payloads import RerankRequest, ScoringResponse
from server.protocol.field_rules import Alias, FieldRules, Hint, Refused, UnknownFields
from server.protocol.json_text import json_pieces
from server.protocol.scoring.scoring_fields import (
    SHARED,
    Count,
    ScoringFields,
    ScoringUsage,
    make_id,
    usage,
)
from server.protocol.validation import validate_fields

__all__ = ["RERANK", "RerankAnswer", "RerankCall", "RerankFields", "parse_rerank"]

RERANK = FieldRules(
    {
        **SHARED,
        "max_doc_length": Alias("max_tokens_per_doc"),
        "return_embeddings": Refused("see the endpoint of embeddings"),
        "truncation": Hint("long documents are read in chunks (Jina)", bool),
    }
)

REQUIRED = ("query", "documents")
# Model Server's words; its clients may look for them.
WRONG_TYPES: Mapping[str, tuple[type, str]] = {
    "query": (str, "query is not a string"),
    "documents": (list, "documents is not an array"),
    "top_n": (int, "top_n accepts integer values"),
    "rank_fields": (list, "rank_fields is not an array"),
    "return_documents": (bool, "return_documents accepts boolean values"),
    "max_chunks_per_doc": (int, "max_chunks_per_doc accepts integer values"),
}

Document = str | Mapping[str, Any]
Documents = Annotated[
    list[Any],
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "minItems": 1, "items": {"type": "string"}},
                {"type": "array", "minItems": 1, "items": {"type": "object"}},
            ]
        }
    ),
]


class RerankFields(ScoringFields):
    """A query, and the documents to put into the order of their relevance to it.

    Of documents that are objects the member `text` is read, or those that `rank_fields` names. A
    `top_n` of 0 is all documents.
    """

    model_config = ConfigDict(json_schema_extra=RERANK.describe)

    query: str
    documents: Documents
    top_n: int | None = Field(None, ge=0)
    return_documents: bool | None = None
    rank_fields: list[str] | None = None
    max_chunks_per_doc: Count | None = None
    max_tokens_per_doc: Count | None = None
    instruction: str | None = None


class RerankResult(BaseModel):
    """A document: its place in the request, its score, and itself if it was asked for."""

    index: int
    relevance_score: float
    document: dict[str, Any] | None = None


class RerankMeta(BaseModel):
    """Cohere's account of a request."""

    api_version: dict[Literal["version"], str]
    tokens: dict[Literal["input_tokens"], int]


class RerankAnswer(BaseModel):
    """The documents, the most relevant one first."""

    id: str
    model: str
    results: list[RerankResult]
    meta: RerankMeta
    usage: ScoringUsage


@dataclass(frozen=True, slots=True)
class RerankCall:
    """A parsed request, and how its answer is written."""

    model: str
    request: RerankRequest
    documents: Sequence[Document]
    top_n: int
    returns_documents: bool
    unknown_fields: UnknownFields

    def answer(self, response: ScoringResponse, api_version: str) -> Iterator[bytes]:
        """The body of the answer, in pieces."""
        scores = [row[0] for row in response.rows]
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        return json_pieces(
            {
                "id": make_id("rerank"),
                "model": self.model,
                "results": [self._result(i, scores[i]) for i in order[: self.top_n]],
                "meta": {
                    "api_version": {"version": api_version},
                    "tokens": {"input_tokens": response.num_tokens},
                },
                "usage": usage(response),
            }
        )

    def _result(self, index: int, score: float) -> dict[str, Any]:
        result: dict[str, Any] = {"index": index, "relevance_score": score}
        if self.returns_documents:
            document = self.documents[index]
            result["document"] = {"text": document} if isinstance(document, str) else document
        return result


def parse_rerank(body: Mapping[str, Any], *, returns_documents: bool) -> RerankCall:
    """Parse a request body; `returns_documents` is the default of the field return_documents.

    Raises InvalidRequestError.
    """
    _check_types(body)
    fields = validate_fields(RerankFields, body, RERANK)
    texts = _texts(fields.documents, fields.rank_fields or ["text"])
    request = RerankRequest(
        use_activation=fields.use_activation,
        truncate_prompt_tokens=fields.limit(),
        cache_salt=fields.cache_salt or "",
        pairs=tuple((fields.query, text) for text in texts),
        instruction=fields.instruction,
        max_tokens_per_doc=fields.max_tokens_per_doc,
        max_chunks_per_doc=fields.max_chunks_per_doc,
    )
    chosen = fields.return_documents
    return RerankCall(
        fields.model,
        request,
        fields.documents,
        fields.top_n or len(texts),
        returns_documents if chosen is None else chosen,
        RERANK.unknown_fields(fields),
    )


def _check_types(body: Mapping[str, Any]) -> None:
    for name in REQUIRED:
        if name not in body:
            raise InvalidRequestError(f"{name} field is missing in request", name)
    for name, (kind, problem) in WRONG_TYPES.items():
        value = body.get(name)
        if value is None and name not in REQUIRED:
            continue
        if not isinstance(value, kind) or type(value) is bool is not kind:
            raise InvalidRequestError(f"{problem}, found {describe_value(value)}", name)
    for name in body.get("rank_fields") or ():
        if not isinstance(name, str):
            problem = f"rank_fields array element is not a string, found {describe_value(name)}"
            raise InvalidRequestError(problem, "rank_fields")


def _texts(documents: Sequence[Any], rank_fields: Sequence[str]) -> list[str]:
    if not documents:
        raise InvalidRequestError("documents is an empty list; nothing can be ranked", "documents")
    for i, document in enumerate(documents):
        problem = None
        if not isinstance(document, str | dict):
            problem = "documents array element is neither string nor object"
        elif isinstance(document, str) is not isinstance(documents[0], str):
            problem = "all documents have to be the same type (string or objects)"
        if problem:
            where = f"documents[{i}] is {describe_value(document)}"
            raise InvalidRequestError(f"{problem}; {where}", "documents")
    if isinstance(documents[0], str):
        return list(documents)
    return [_text_of(d, rank_fields, f"documents[{i}]") for i, d in enumerate(documents)]


def _text_of(document: Mapping[str, Any], rank_fields: Sequence[str], where: str) -> str:
    """The members to read, in the order of `rank_fields`, one on each line."""
    for name in ("title", *rank_fields):
        value = document.get(name)
        if value is not None and not isinstance(value, str):
            raise InvalidRequestError(
                f"document {name} field have to be string; {where}.{name} is "
                f"{describe_value(value)}",
                "documents",
            )
    texts = [document[name] for name in rank_fields if document.get(name) is not None]
    if not texts:
        names = " or ".join(rank_fields)
        raise InvalidRequestError(f"document {names} field is missing in {where}", "documents")
    return "\n".join(texts)
