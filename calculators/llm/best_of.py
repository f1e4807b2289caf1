"""Of several answers the best ones."""

from collections.abc import Iterator
from dataclasses import replace

from server.payloads import TextChunk

__all__ = ["BestOf"]


class BestOf:
    """Keeps the chunks of all choices until the `num_wanted` best of them are known.

    The best is the one with the highest log probability per token, as OpenAI defines it. The
    chunks must have log probabilities; `shows_logprobs` leaves them in what comes out.
    """

    def __init__(self, num_wanted: int, shows_logprobs: bool) -> None:
        self._num_wanted = num_wanted
        self._shows_logprobs = shows_logprobs
        self._chunks: dict[int, list[TextChunk]] = {}

    def add(self, chunk: TextChunk) -> None:
        """Take the next chunk of a choice."""
        self._chunks.setdefault(chunk.index, []).append(chunk)

    def take(self) -> Iterator[TextChunk]:
        """The chunks of the best choices, which are numbered anew, the best first."""
        # A stable sort: of equal ones the earlier choice is better.
        ranked = sorted(self._chunks.values(), key=_mean_logprob, reverse=True)
        for index, chunks in enumerate(ranked[: self._num_wanted]):
            for chunk in chunks:
                logprobs = chunk.logprobs if self._shows_logprobs else None
                yield replace(chunk, index=index, logprobs=logprobs)


def _mean_logprob(chunks: list[TextChunk]) -> float:
    entries = [entry for chunk in chunks for entry in chunk.logprobs or ()]
    values = [entry.logprob for entry in entries if entry.logprob is not None]
    # A choice that has nothing to show is no good answer.
    return sum(values) / len(values) if values else float("-inf")
