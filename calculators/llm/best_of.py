"""Chooses the best of several answers."""

from collections.abc import Iterator
from dataclasses import replace

from server.payloads import TextChunk

__all__ = ["BestOf"]


class BestOf:
    """Keeps the chunks of all choices until the `num_wanted` best of them are known.

    The best is the one with the highest log probability per token, as OpenAI defines it. The
    chunks must have log probabilities; they stay in the output if `shows_logprobs`.
    """

    def __init__(self, num_wanted: int, shows_logprobs: bool) -> None:
        self._num_wanted = num_wanted
        self._shows_logprobs = shows_logprobs
        self._chunks: dict[int, list[TextChunk]] = {}

    def add(self, chunk: TextChunk) -> None:
        """Take the next chunk of a choice."""
        self._chunks.setdefault(chunk.index, []).append(chunk)

    def take(self) -> Iterator[TextChunk]:
        """The chunks of the best choices, the best first, with new indices."""
        # A stable sort: the earlier one of equal choices comes first.
        ranked = sorted(self._chunks.values(), key=_mean_logprob, reverse=True)
        for index, chunks in enumerate(ranked[: self._num_wanted]):
            for chunk in chunks:
                logprobs = chunk.logprobs if self._shows_logprobs else None
                yield replace(chunk, index=index, logprobs=logprobs)


def _mean_logprob(chunks: list[TextChunk]) -> float:
    entries = [entry for chunk in chunks for entry in chunk.logprobs or ()]
    values = [entry.logprob for entry in entries if entry.logprob is not None]
    # A choice without tokens is the worst answer.
    return sum(values) / len(values) if values else float("-inf")
