"""A reranker or text classifier without a server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.errors import InvalidRequestError
from server.llm.graph_source import GraphKind
from server.llm.loaded_model import LoadedModel
from server.models.tasks import RERANK
from server.payloads import ClassifyRequest, RerankRequest, ScoringRequest, ScoringResponse

__all__ = ["Classification", "RankedDocument", "RerankModel"]


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document, its place among those that were given, and its score from 0 to 1."""

    index: int
    score: float
    document: str


@dataclass(frozen=True, slots=True)
class Classification:
    """The likeliest label of a text, and the number of each label."""

    label: str
    scores: Mapping[str, float]


class RerankModel(LoadedModel):
    """A loaded reranker or classifier. Any thread may use it; `with ...` or `close` frees it.

    `model_path`, `options` and the errors are those of LoadedModel.
    """

    kind = GraphKind("reranker", RERANK, ScoringRequest, ScoringResponse)

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        instruction: str | None = None,
    ) -> list[RankedDocument]:
        """Return the documents, the most relevant one first, at most `top_n` of them.

        `instruction` says what is searched for, to a model whose template shows it. Raises
        InvalidRequestError for what the model cannot take.
        """
        if top_n is not None and top_n < 1:
            raise InvalidRequestError(f"top_n is {top_n}; it must be at least 1", "top_n")
        texts = _texts(documents, "documents")
        if not texts:
            return []
        (query,) = _texts([query], "query")
        pairs = tuple((query, text) for text in texts)
        response = self._run_one(RerankRequest(pairs=pairs, instruction=instruction))
        found = [
            RankedDocument(index, row[0], texts[index]) for index, row in enumerate(response.rows)
        ]
        return sorted(found, key=lambda ranked: -ranked.score)[:top_n]

    def score(
        self, pairs: Sequence[tuple[str, str]], *, instruction: str | None = None
    ) -> list[float]:
        """Return the score of each pair of a query and a document, as CrossEncoder.predict does.

        The activation is the one that the model's files name. Raises InvalidRequestError.
        """
        checked = []
        for number, pair in enumerate(pairs):
            if len(pair) != 2:
                problem = f"pair {number} has {len(pair)} texts; it must have 2"
                raise InvalidRequestError(problem, "pairs")
            query, document = _texts(pair, f"pair {number}")
            checked.append((query, document))
        if not checked:
            return []
        response = self._run_one(
            RerankRequest(pairs=tuple(checked), is_probability=False, instruction=instruction)
        )
        return [row[0] for row in response.rows]

    def classify(self, texts: Sequence[str]) -> list[Classification]:
        """Return the labels of each text. Raises InvalidRequestError."""
        inputs = _texts(texts, "texts")
        if not inputs:
            return []
        response = self._run_one(ClassifyRequest(inputs=inputs))
        return [
            Classification(
                response.labels[row.index(max(row))],
                dict(zip(response.labels, row, strict=True)),
            )
            for row in response.rows
        ]


def _texts(texts: Sequence[str], name: str) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise InvalidRequestError(f"{name} is one text; it must be a list of texts", name)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            found = type(text).__name__
            raise InvalidRequestError(f"{name}: item {number} is a {found}; it must be text", name)
    return tuple(texts)
