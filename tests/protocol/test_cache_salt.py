"""The request field `cache_salt` of the endpoints for embeddings and scores."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from server.errors import InvalidRequestError
from server.protocol.embeddings.cohere import parse_embed
from server.protocol.embeddings.embeddings import parse_embeddings
from server.protocol.embeddings.pooling import parse_pooling
from server.protocol.scoring.classify import parse_classify
from server.protocol.scoring.rerank import parse_rerank
from server.protocol.scoring.score import parse_score
from server.protocol.scoring.similarity import embedding_request

Parse = Callable[[Mapping[str, Any]], Any]

PARSERS: list[tuple[Parse, Mapping[str, Any]]] = [
    (parse_embeddings, {"input": "a"}),
    (parse_pooling, {"input": "a"}),
    (partial(parse_embed, api_version="2"), {"texts": ["a"], "input_type": "classification"}),
    (parse_classify, {"input": "a"}),
    (parse_score, {"queries": "a", "documents": "b"}),
    (partial(parse_rerank, returns_documents=False), {"query": "a", "documents": ["b"]}),
]


@pytest.mark.parametrize(("parse", "body"), PARSERS)
def test_the_salt_of_a_request(parse: Parse, body: Mapping[str, Any]) -> None:
    fields = {"model": "m", **body}
    assert parse(fields).request.cache_salt == ""
    assert parse({**fields, "cache_salt": "x"}).request.cache_salt == "x"
    for wrong in (1, "", "x" * 257, "\ud800"):
        with pytest.raises(InvalidRequestError, match="cache_salt"):
            parse({**fields, "cache_salt": wrong})


def test_scores_of_vectors_keep_it() -> None:
    body = {"model": "m", "queries": "a", "documents": "b", "cache_salt": "x"}
    assert embedding_request(parse_score(body).request).cache_salt == "x"
