"""Scores by a model that embeds texts: the cosine of the two vectors, as vLLM has it."""

import numpy as np

from server.errors import InvalidRequestError
from server.payloads import EmbeddingRequest, EmbeddingResponse, RerankRequest, ScoringResponse

__all__ = ["cosine_scores", "embedding_request"]

# They say how a reranker reads a pair.
OF_RERANKERS = ("instruction", "max_chunks_per_doc", "max_tokens_per_doc")


def embedding_request(request: RerankRequest) -> EmbeddingRequest:
    """Every text of the pairs once. Raises InvalidRequestError for what only rerankers know."""
    for name in OF_RERANKERS:
        if getattr(request, name) is not None:
            raise InvalidRequestError(
                f"{name} is for rerankers; this model embeds texts, and scores are the cosine of "
                "two vectors",
                name,
            )
    return EmbeddingRequest(
        inputs=_texts(request),
        max_tokens=request.truncate_prompt_tokens,
        cache_salt=request.cache_salt,
    )


def cosine_scores(request: RerankRequest, response: EmbeddingResponse) -> ScoringResponse:
    """The scores of the pairs, of the answer to `embedding_request`."""
    vectors = np.stack([np.frombuffer(e.values, "<f4") for e in response.embeddings])
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    places = {text: index for index, text in enumerate(_texts(request))}
    first, second = ([places[pair[side]] for pair in request.pairs] for side in (0, 1))
    # In single precision a vector's cosine with itself may be above 1.
    scores = np.clip(np.einsum("ij,ij->i", vectors[first], vectors[second]), -1, 1).tolist()
    return ScoringResponse(tuple((score,) for score in scores), response.num_tokens)


def _texts(request: RerankRequest) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for pair in request.pairs for text in pair))
