"""Texts and pairs of texts, and the numbers that a reranker or a classifier gives them."""

from dataclasses import dataclass

from server.payloads.client_request import ClientRequest

__all__ = ["ClassifyRequest", "RerankRequest", "ScoringRequest", "ScoringResponse"]


@dataclass(frozen=True, slots=True)
class ScoringRequest(ClientRequest):
    """What both kinds of requests have in common.

    Without `use_activation` the answer has the model's own numbers (logits). None takes what the
    endpoint and the model's files say. An input is cut to `truncate_prompt_tokens` tokens, special
    tokens included; -1 is as many as the model takes.
    """

    use_activation: bool | None = None
    truncate_prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class RerankRequest(ScoringRequest):
    """Pairs of a query and a document; each gets one score.

    `is_probability` asks for scores from 0 to 1, whatever activation the model's files name. A
    document is cut to its first `max_tokens_per_doc` tokens; at most `max_chunks_per_doc` of the
    pieces that the model can take are read. `instruction` is for models whose template shows one.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    is_probability: bool = True
    instruction: str | None = None
    max_tokens_per_doc: int | None = None
    max_chunks_per_doc: int | None = None

    @property
    def num_requests(self) -> int:
        """Each pair counts."""
        return len(self.pairs)


@dataclass(frozen=True, slots=True)
class ClassifyRequest(ScoringRequest):
    """Texts or token ids to classify; each gets a number for every label.

    Special tokens are added to texts if `add_special_tokens` is set, never to token ids.
    """

    inputs: tuple[str | tuple[int, ...], ...] = ()
    add_special_tokens: bool = True

    @property
    def num_requests(self) -> int:
        """Each text counts."""
        return len(self.inputs)


@dataclass(frozen=True, slots=True)
class ScoringResponse:
    """One row of numbers for each pair or input: its score, or a number for each of `labels`.

    `num_tokens` is how many tokens the model read, padding left out.
    """

    rows: tuple[tuple[float, ...], ...]
    num_tokens: int
    labels: tuple[str, ...] = ()
