"""Log probabilities in OpenAI's and vLLM's forms."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from server.payloads import TokenLogprobs

__all__ = ["describe_logprobs", "describe_prompt_logprobs", "finite_logprob", "name_token_id"]

# JSON has no infinity; this is what OpenAI sends for a token that could not be chosen.
LOWEST_LOGPROB = -9999.0


def finite_logprob(logprob: float | None) -> float | None:
    """A log probability that JSON can hold; NaN becomes the lowest."""
    if logprob is None:
        return None
    return logprob if logprob > LOWEST_LOGPROB else LOWEST_LOGPROB


def name_token_id(token: TokenLogprobs) -> TokenLogprobs:
    """The token with its id instead of its text, as vLLM writes it."""
    top = tuple(map(name_token_id, token.top))
    return replace(token, token=f"token_id:{token.token_id}", top=top)


def describe_logprobs(tokens: Iterable[TokenLogprobs]) -> Iterator[dict[str, Any]]:
    """OpenAI's newer form: an object for each token."""
    for token in tokens:
        likely = [_describe_token(likely) for likely in token.top]
        yield {**_describe_token(token), "top_logprobs": likely}


def describe_prompt_logprobs(
    tokens: Iterable[TokenLogprobs], num_top: int
) -> Iterator[dict[str, Any] | None]:
    """vLLM's form: by token id, for each token of the prompt; null for the first one."""
    for token in tokens:
        if token.logprob is None:
            yield None
            continue
        yield {
            str(t.token_id): {"logprob": finite_logprob(t.logprob), "decoded_token": t.token}
            for t in (*token.top[:num_top], token)
        }


def _describe_token(token: TokenLogprobs) -> dict[str, Any]:
    return {
        "token": token.token,
        "logprob": finite_logprob(token.logprob),
        "bytes": list(token.token_bytes),
    }
