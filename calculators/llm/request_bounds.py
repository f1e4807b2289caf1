"""Bounds on what all answers to one request have together."""

from dataclasses import dataclass

from server.errors import InvalidRequestError
from server.payloads import SamplingFields, TokenizedPrompt

__all__ = ["RequestBounds"]


@dataclass(frozen=True, slots=True)
class RequestBounds:
    """The options of these names. Beams count, and answers that `best_of` drops."""

    max_tokens_per_request: int
    max_logprobs_per_request: int

    def apply(self, sampling: SamplingFields, prompt: TokenizedPrompt, room: int) -> None:
        """Bound the answers to a prompt, each of which can have `room` tokens.

        Without max_tokens in `sampling` they end at the bound. Raises InvalidRequestError where the
        client asks for more.
        """
        num_answers = max(sampling.get("n", 1), sampling.get("num_beams", 1))
        num_answers *= prompt.request.num_prompts
        logprobs, of_prompt = sampling.get("logprobs"), sampling.get("prompt_logprobs")
        each = 0 if logprobs is None else 1 + logprobs
        fixed = 0
        if of_prompt is not None:
            fixed = sampling.get("n", 1) * len(prompt.token_ids) * (1 + of_prompt)
        bounds = (
            _Bound("max_tokens_per_request", self.max_tokens_per_request, "tokens", num_answers),
            _Bound(
                "max_logprobs_per_request",
                self.max_logprobs_per_request,
                "log probabilities",
                num_answers * each,
                fixed,
            ),
        )
        if sampling.get("max_tokens") is None:
            most = min(bound.most_tokens(room) for bound in bounds)
            if most < room:
                sampling["max_tokens"] = max(1, most)
        for bound in bounds:
            bound.check(sampling.get("max_tokens") or 0)


@dataclass(frozen=True, slots=True)
class _Bound:
    """At most `most` of something, of which each token of the answers has `each`.

    The prompt has `fixed` of them.
    """

    option: str
    most: int
    what: str
    each: int
    fixed: int = 0

    def most_tokens(self, room: int) -> int:
        """How many tokens, up to `room`, each answer may have."""
        return min(room, (self.most - self.fixed) // self.each) if self.each else room

    def check(self, max_tokens: int) -> None:
        """Raise InvalidRequestError for more than the bound."""
        count = self.fixed + max_tokens * self.each
        if count > self.most:
            raise InvalidRequestError(
                f"all answers to the request together have up to {count} {self.what}; this graph "
                f"allows {self.most}: ask for less, or raise its option {self.option}",
                "prompt_logprobs" if self.fixed > self.most else "max_tokens",
            )
