"""Measure the embedder and the reranker on pairs that the training never saw."""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pairs import Pair, draw
from sentence_transformers import CrossEncoder, SentenceTransformer

from server import EmbeddingModel, RerankModel

HERE = Path(__file__).parent
NUM_CANDIDATES = 10

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
Score = Callable[[str, Sequence[str]], Sequence[float]]


def held_out_pairs(seed: int, count: int) -> list[Pair]:
    """Pairs about different subjects, none of which was trained."""
    rng = random.Random(seed)
    pairs: dict[str, Pair] = {}
    while len(pairs) < count:
        pair = draw(rng, held=True)
        pairs.setdefault(pair.subject, pair)
    return list(pairs.values())


def evaluate(pairs: Sequence[Pair], embed: Embed, score: Score) -> tuple[Counter[str], ...]:
    """Per kind: all questions, those whose document was nearest, among the nearest, ranked first.

    The documents of all pairs are searched. The reranker orders the nearest of them.
    """
    documents = [pair.document for pair in pairs]
    similarity = embed([pair.question for pair in pairs]) @ embed(documents).T
    asked, nearest, near, first = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for index, pair in enumerate(pairs):
        found = np.argsort(-similarity[index])[:NUM_CANDIDATES]
        scores = score(pair.question, [documents[i] for i in found])
        asked[pair.kind] += 1
        nearest[pair.kind] += int(found[0] == index)
        near[pair.kind] += int(index in found)
        first[pair.kind] += int(found[int(np.argmax(scores))] == index)
    return asked, nearest, near, first


def sentence_transformers_backend(folder: Path) -> tuple[Embed, Score]:
    """The checkpoints as sentence-transformers runs them."""
    embedder = SentenceTransformer(str(folder / "embedder"), device="cpu")
    reranker = CrossEncoder(str(folder / "reranker"), device="cpu", max_length=256)
    return (
        lambda texts: embedder.encode(list(texts), show_progress_bar=False),
        lambda query, documents: reranker.predict(
            [(query, document) for document in documents], show_progress_bar=False
        ),
    )


def server_backend() -> tuple[Embed, Score]:
    """The bundled models as this server runs them."""
    embedder, reranker = EmbeddingModel("tiny_embedder"), RerankModel("tiny_reranker")

    def score(query: str, documents: Sequence[str]) -> Sequence[float]:
        ranked = reranker.rerank(query, documents)
        return [entry.score for entry in sorted(ranked, key=lambda entry: entry.index)]

    return lambda texts: np.array(embedder.embed(list(texts))), score


def main() -> None:
    """Print a table for each backend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE, help="of embedder/ and reranker/")
    parser.add_argument("--backend", choices=["sentence-transformers", "server"], required=True)
    parser.add_argument("--count", type=int, default=1000)
    args = parser.parse_args()
    is_server = args.backend == "server"
    backend = server_backend() if is_server else sentence_transformers_backend(args.folder)
    counts = evaluate(held_out_pairs(11, args.count), *backend)
    print(f"| kind | asked | nearest | among {NUM_CANDIDATES} | after reranking |")
    print("|---|---:|---:|---:|---:|")
    for kind in [*sorted(counts[0]), "all"]:
        row = [count.total() if kind == "all" else count[kind] for count in counts]
        shares = " | ".join(f"{100 * part / row[0]:.1f}" for part in row[1:])
        print(f"| {kind} | {row[0]} | {shares} |")


if __name__ == "__main__":
    main()
