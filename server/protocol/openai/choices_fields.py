"""The request fields that chat/completions and completions share: what their answers show."""

from server.errors import InvalidRequestError
from server.protocol.openai.choices_renderer import AnswerStyle
from server.protocol.openai.generation_fields import GenerationFields, ranged

__all__ = ["ChoicesFields"]


class ChoicesFields(GenerationFields):
    """Fields of an answer that is a list of choices."""

    prompt_logprobs: int | None = ranged("prompt_logprobs")
    return_token_ids: bool = False
    return_tokens_as_token_ids: bool = False
    metrics: bool = False
    timings: bool = False
    timings_per_token: bool = False

    def style(self) -> AnswerStyle:
        """What the answer shows. Raises InvalidRequestError."""
        if self.stream and self.prompt_logprobs is not None:
            problem = "prompt_logprobs are not possible together with stream: true"
            raise InvalidRequestError(problem, "prompt_logprobs")
        return AnswerStyle(
            num_choices=1 if self.n is None else self.n,
            has_usage_chunk=self.has_usage_chunk(),
            has_continuous_usage=self.has_continuous_usage(),
            num_prompt_logprobs=self.prompt_logprobs,
            has_token_ids=self.return_token_ids,
            names_token_ids=self.return_tokens_as_token_ids,
            has_metrics=self.metrics,
            has_timings=self.timings or self.timings_per_token,
            has_continuous_timings=self.timings_per_token,
        )
