"""Texts in, vectors out."""

from dataclasses import dataclass
from typing import Literal

from server.payloads.client_request import ClientRequest

__all__ = ["Embedding", "EmbeddingRequest", "EmbeddingResponse"]


@dataclass(frozen=True, slots=True)
class EmbeddingRequest(ClientRequest):
    """Texts, or token ids, which are used unchanged; each gets an embedding.

    An input that is longer than the model allows is an error, or is cut at its start or end; None
    leaves that to the node. `max_tokens` is a lower limit to cut to; -1 is the model's.
    `instruction`, `prompt_name` and `input_type` choose what is put before texts; at most one of
    them is set. `dimensions` keeps that many numbers of each vector, which are normalised again.
    With `of_tokens` the answer has a vector for each token.
    """

    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    truncation: Literal["none", "start", "end"] | None = None
    max_tokens: int | None = None
    instruction: str | None = None
    prompt_name: str | None = None
    input_type: str | None = None
    of_tokens: bool = False

    @property
    def num_requests(self) -> int:
        """Each text counts."""
        return len(self.inputs)


@dataclass(frozen=True, slots=True)
class Embedding:
    """One vector of `size` numbers, or one for each token, as little-endian f32 in row-major order.

    `num_tokens` is how many tokens the model read for it, special tokens included.
    """

    values: bytes
    size: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class EmbeddingResponse:
    """The embeddings of a request, in the order of its inputs."""

    embeddings: tuple[Embedding, ...]

    @property
    def num_tokens(self) -> int:
        """The tokens of all inputs."""
        return sum(embedding.num_tokens for embedding in self.embeddings)
