"""Embeddings without a server."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from server.llm.graph_source import GraphKind
from server.llm.loaded_model import LoadedModel
from server.llm.prompts import checked_prompt, is_token_ids
from server.models.tasks import EMBEDDINGS
from server.payloads import EmbeddingRequest, EmbeddingResponse

__all__ = ["EmbeddingModel"]


class EmbeddingModel(LoadedModel):
    """A loaded model that turns texts into vectors; see LoadedModel for how it is loaded.

    Options are those of the node, for example `pooling="MEAN"` or `normalize_embeddings=False`.
    """

    kind = GraphKind("embedding model", EMBEDDINGS, EmbeddingRequest, EmbeddingResponse)

    def embed(
        self,
        inputs: str | Sequence[int] | Sequence[str | Sequence[int]],
        *,
        dimensions: int | None = None,
        instruction: str | None = None,
        prompt_name: str | None = None,
        input_type: str | None = None,
        truncate: bool | None = None,
    ) -> npt.NDArray[np.float32]:
        """The vectors of texts or token ids: [inputs, size], or [size] for a single one.

        `dimensions` keeps that many numbers of each. One of `instruction`, `prompt_name` and
        `input_type` chooses what is put before texts. `truncate` says whether an input that is too
        long is cut at its end or refused; None leaves that to the graph.

        Raises InvalidRequestError.
        """
        is_single = isinstance(inputs, str) or is_token_ids(inputs)
        items = cast(Sequence[Any], [inputs] if is_single else inputs)
        request = EmbeddingRequest(
            tuple(checked_prompt(item, number) for number, item in enumerate(items)),
            dimensions=dimensions,
            truncation=None if truncate is None else "end" if truncate else "none",
            instruction=instruction,
            prompt_name=prompt_name,
            input_type=input_type,
        )
        response: EmbeddingResponse = self._run_one(request)
        values = b"".join(embedding.values for embedding in response.embeddings)
        size = response.embeddings[0].size if response.embeddings else 0
        vectors = np.frombuffer(values, "<f4").reshape(len(items), size)
        return vectors[0] if is_single else vectors
