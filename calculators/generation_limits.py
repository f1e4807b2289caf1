"""What a client asked for -> what the engine is asked for: defaults, limits, a prompt that fits."""

from dataclasses import dataclass, replace

from server.errors import InvalidRequestError
from server.payloads import GenerationRequest, SamplingFields, SamplingParams, TokenizedPrompt

__all__ = ["GenerationLimits"]


@dataclass(frozen=True, slots=True)
class GenerationLimits:
    """The model's defaults and sizes, and the limits that the graph sets.

    `max_num_tokens` are prompt and answer together; `max_num_prompt_tokens`, `max_tokens_limit`
    are None where there is no such limit. A `best_of` must be below `best_of_limit`.
    """

    defaults: SamplingFields
    max_num_tokens: int
    max_num_prompt_tokens: int | None
    max_tokens_limit: int | None
    best_of_limit: int

    def truncate(self, prompt: TokenizedPrompt) -> TokenizedPrompt:
        """The prompt, or the end of it that the client wants to keep."""
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
        """What the client set, over the model's defaults, within the graph's limits.

        Raises InvalidRequestError for more than the graph allows.
        """
        request = prompt.request
        merged: SamplingFields = {**self.defaults, **request.sampling}
        self._resolve_max_tokens(merged, prompt)
        self._resolve_best_of(merged, request)
        return SamplingParams(**merged)

    def _resolve_max_tokens(self, merged: SamplingFields, prompt: TokenizedPrompt) -> None:
        request, limit = prompt.request, self.max_tokens_limit
        if "max_tokens" not in request.sampling:
            possible = [limit, request.default_max_tokens, self.defaults.get("max_tokens")]
            known = [value for value in possible if value is not None]
            room = self.max_num_tokens - len(prompt.token_ids)
            if known:
                merged["max_tokens"] = max(1, min(room, *known))
        elif limit is not None and merged["max_tokens"] > limit:
            raise InvalidRequestError(
                f"max_tokens is {merged['max_tokens']}; this graph allows at most {limit} "
                "(max_tokens_limit)",
                "max_tokens",
            )

    def _resolve_best_of(self, merged: SamplingFields, request: GenerationRequest) -> None:
        """Let the engine make as many choices as the best are chosen from."""
        best_of = request.best_of
        if best_of is None:
            return
        if best_of >= self.best_of_limit:
            raise InvalidRequestError(
                f"best_of is {best_of}; this graph allows less than {self.best_of_limit} "
                "(best_of_limit)",
                "best_of",
            )
        if best_of == merged.get("n", 1):
            return
        if merged.get("temperature") == 0:
            raise InvalidRequestError(
                f"best_of is {best_of} with temperature 0, which gives equal answers; "
                "take a higher temperature, or the value of n",
                "best_of",
            )
        merged["n"] = best_of
        # They are compared by their log probabilities.
        merged.setdefault("logprobs", 0)
