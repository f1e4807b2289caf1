"""From a client's request to the engine's: defaults, limits, a prompt that fits."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from calculators.llm.request_bounds import RequestBounds
from server.errors import InvalidRequestError
from server.payloads import GenerationRequest, SamplingFields, SamplingParams, TokenizedPrompt

__all__ = ["GenerationLimits"]


@dataclass(frozen=True, slots=True)
class GenerationLimits:
    """The model's defaults and sizes, and the limits that the graph sets.

    `max_num_tokens` is the limit of prompt and answer together; `max_num_prompt_tokens` and
    `max_tokens_limit` are None if there is no such limit. `best_of` and `num_beams` must be below
    `best_of_limit`, and at most `max_num_seqs`. `room(prompt_tokens, beams)` is how many tokens an
    answer can have, and `bounds` are for all answers of a request.
    """

    defaults: SamplingFields
    max_num_tokens: int
    max_num_prompt_tokens: int | None
    max_tokens_limit: int | None
    best_of_limit: int
    max_num_seqs: int
    room: Callable[[int, int], int]
    bounds: RequestBounds

    def truncate(self, prompt: TokenizedPrompt) -> TokenizedPrompt:
        """Cut the prompt to its last tokens, if the client asks for that."""
        request = prompt.request
        keep = request.truncate_prompt_tokens
        if keep is None:
            return prompt
        if keep == -1:
            num_answer = request.sampling.get("max_tokens", request.default_max_tokens)
            longest = self.max_num_tokens - max(1, num_answer or 1)
            keep = max(1, min(longest, self.max_num_prompt_tokens or longest))
        if len(prompt.token_ids) <= keep:
            return prompt
        return replace(prompt, token_ids=prompt.token_ids[-keep:], text=None)

    def resolve(self, prompt: TokenizedPrompt) -> SamplingParams:
        """The client's parameters, completed by the model's defaults, within the graph's limits.

        Raises InvalidRequestError for more than the graph allows.
        """
        request = prompt.request
        merged: SamplingFields = {**self.defaults, **request.sampling}
        self._resolve_best_of(merged, request)
        if merged.get("num_beams", 1) > 1:
            self._check_best_of_limit("num_beams", merged["num_beams"])
            _forget_random_defaults(merged, request)
        _resolve_drafting(merged, request)
        self._resolve_max_tokens(merged, prompt)
        room = self.room(len(prompt.token_ids), merged.get("num_beams", 1))
        self.bounds.apply(merged, prompt, room)
        return SamplingParams(**merged)

    def _resolve_max_tokens(self, merged: SamplingFields, prompt: TokenizedPrompt) -> None:
        request, limit = prompt.request, self.max_tokens_limit
        wanted = request.sampling.get("max_tokens")
        of_total = _left_of_total(prompt)
        if wanted is not None and of_total is not None:
            merged["max_tokens"] = wanted = min(wanted, of_total)
        if wanted is None or request.reduce_max_tokens:
            defaults = [request.default_max_tokens, of_total, self.defaults.get("max_tokens")]
            possible = [limit, *(defaults if wanted is None else [wanted])]
            known = [value for value in possible if value is not None]
            room = self.room(len(prompt.token_ids), merged.get("num_beams", 1))
            if known:
                merged["max_tokens"] = max(1, min(room, *known))
        elif limit is not None and wanted > limit:
            raise InvalidRequestError(
                f"max_tokens is {wanted}; this graph allows at most {limit} (max_tokens_limit)",
                "max_tokens",
            )

    def _resolve_best_of(self, merged: SamplingFields, request: GenerationRequest) -> None:
        """Let the engine make `best_of` choices."""
        best_of = request.best_of
        if best_of is None:
            return
        self._check_best_of_limit("best_of", best_of)
        if merged.get("temperature") == 0:
            # At temperature 0 all choices would be the same: a beam search finds different ones.
            merged["num_beams"] = best_of
        elif best_of > merged.get("n", 1):
            merged["n"] = best_of
            # They are compared by their log probabilities.
            merged.setdefault("logprobs", 0)

    def _check_best_of_limit(self, name: str, value: int) -> None:
        if value >= self.best_of_limit:
            raise InvalidRequestError(
                f"{name} is {value}; this graph allows less than {self.best_of_limit} "
                "(best_of_limit)",
                name,
            )
        if value > self.max_num_seqs:
            raise InvalidRequestError(
                f"{name} is {value}; this model runs at most {self.max_num_seqs} sequences at once",
                name,
            )


def _forget_random_defaults(merged: SamplingFields, request: GenerationRequest) -> None:
    """Drop the model's defaults of random sampling, which a beam search does not use."""
    merged["temperature"] = request.sampling.get("temperature", 0.0)
    if "top_k" not in request.sampling:
        merged.pop("top_k", None)
    if "top_p" not in request.sampling:
        merged.pop("top_p", None)
    if "min_p" not in request.sampling:
        merged.pop("min_p", None)


def _resolve_drafting(merged: SamplingFields, request: GenerationRequest) -> None:
    """Drop the model's default for what the client's field excludes."""
    if request.sampling.get("assistant_confidence_threshold"):
        if "num_assistant_tokens" not in request.sampling:
            merged.pop("num_assistant_tokens", None)
    elif "num_assistant_tokens" in request.sampling:
        merged.pop("assistant_confidence_threshold", None)


def _left_of_total(prompt: TokenizedPrompt) -> int | None:
    """How many tokens the answer may have, if the client bounds prompt and answer together."""
    total, num_prompt = prompt.request.max_total_tokens, len(prompt.token_ids)
    if total is None:
        return None
    if num_prompt >= total:
        problem = f"the prompt has {num_prompt} tokens; with max_length {total} there is no room"
        raise InvalidRequestError(f"{problem} for an answer", "max_length")
    return total - num_prompt
