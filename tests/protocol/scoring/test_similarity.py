import numpy as np
import pytest

from server.errors import InvalidRequestError
from server.payloads import Embedding, EmbeddingResponse, RerankRequest
from server.protocol.scoring.similarity import cosine_scores, embedding_request


def embedding(*values: float) -> Embedding:
    return Embedding(np.array(values, "<f4").tobytes(), len(values), 2)


def test_a_score_is_the_cosine_of_two_vectors() -> None:
    request = RerankRequest(
        pairs=(("a", "b"), ("a", "c"), ("a", "a"), ("c", "d")), truncate_prompt_tokens=9
    )
    asked = embedding_request(request)
    assert (asked.inputs, asked.max_tokens) == (("a", "b", "c", "d"), 9)
    vectors = embedding(3, 4), embedding(4, -3), embedding(-30, -40), embedding(0, 0)
    response = cosine_scores(request, EmbeddingResponse(vectors))
    assert [row[0] for row in response.rows] == pytest.approx([0, -1, 1, 0])
    assert response.num_tokens == 8


@pytest.mark.parametrize("name", ["instruction", "max_chunks_per_doc", "max_tokens_per_doc"])
def test_what_only_rerankers_know_is_refused(name: str) -> None:
    request = RerankRequest(pairs=(("a", "b"),), **{name: 1})  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match=f"{name} is for rerankers"):
        embedding_request(request)
