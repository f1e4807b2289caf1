"""How long the parts of one request took, in vLLM's and llama.cpp's forms."""

import time
from typing import Any

from server.protocol.generation_call import Usage

__all__ = ["RequestClock"]


class RequestClock:
    """Starts when the request was parsed. All times are in milliseconds."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._first_s: float | None = None

    def note_chunk(self, at_s: float | None = None) -> None:
        """Note that a chunk came, now or at a moment of time.monotonic(); the first one counts."""
        at_s = time.monotonic() if at_s is None else at_s
        self._first_s = at_s if self._first_s is None else min(self._first_s, at_s)

    def metrics(self, usage: Usage) -> dict[str, Any]:
        """vLLM's `metrics`. Waiting for a place is part of the time to the first token."""
        first_ms, rest_ms = self._times_ms()
        num_tokens = usage["completion_tokens"]
        return {
            "time_to_first_token_ms": first_ms,
            "generation_time_ms": rest_ms,
            "queue_time_ms": None,
            "mean_itl_ms": _ratio(rest_ms, num_tokens - 1),
            "tokens_per_second": _ratio(1000.0 * num_tokens, first_ms + rest_ms),
        }

    def timings(self, usage: Usage) -> dict[str, Any]:
        """llama.cpp's `timings`; `cache_n` tokens of the prompt were computed before."""
        first_ms, rest_ms = self._times_ms()
        num_cached = usage["prompt_tokens_details"]["cached_tokens"]
        num_prompt = usage["prompt_tokens"] - num_cached
        num_tokens = usage["completion_tokens"]
        return {
            "cache_n": num_cached,
            "prompt_n": num_prompt,
            "prompt_ms": first_ms,
            "prompt_per_token_ms": _ratio(first_ms, num_prompt),
            "prompt_per_second": _ratio(1000.0 * num_prompt, first_ms),
            "predicted_n": num_tokens,
            "predicted_ms": rest_ms,
            "predicted_per_token_ms": _ratio(rest_ms, num_tokens),
            "predicted_per_second": _ratio(1000.0 * num_tokens, rest_ms),
        }

    def _times_ms(self) -> tuple[float, float]:
        """To the first chunk, and from there to now."""
        now_s = time.monotonic()
        first_s = now_s if self._first_s is None else self._first_s
        return (first_s - self._start_s) * 1000.0, (now_s - first_s) * 1000.0


def _ratio(amount: float, count: float) -> float | None:
    return amount / count if count > 0 else None
