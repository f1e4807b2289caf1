"""What a request can ask for instead of new tokens: the model's output at the last prompt token."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["PooledOutput", "Pooling"]


@dataclass(frozen=True, slots=True, eq=False)
class Pooling:
    """The logits of `token_ids`, or, where there are none, the hidden state.

    The hidden state is what the output head gets: that after the final norm. By this an embedder
    with LAST pooling represents a text. Logits of named tokens are how a reranker of the kind of
    Qwen3-Reranker answers.
    """

    token_ids: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PooledOutput:
    """`values` are f32[hidden size], or f32[number of named tokens].

    The first `num_cached_tokens` of the prompt came from the prefix cache.
    """

    values: npt.NDArray[np.float32]
    num_cached_tokens: int
