"""Seeded request sets in the shape of ShareGPT conversations; no data set is needed.

Lengths are lognormal with the means and medians that are usually quoted for ShareGPT, cut off at a
cap. Prompts are random token ids, so that no prefix cache can answer one from another.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MIN_LENGTH = 4


@dataclass(frozen=True)
class BenchmarkRequest:
    """One request: what to send, how many tokens to ask for, and when, counted from the start."""

    token_ids: tuple[int, ...]
    max_tokens: int
    arrival_s: float = 0.0


@dataclass(frozen=True)
class LengthDistribution:
    """A lognormal distribution, given by its mean and median before the cap."""

    mean: float
    median: float

    def sample(self, rng: np.random.Generator, size: int, cap: int) -> npt.NDArray[np.int64]:
        """Draw whole lengths from MIN_LENGTH to `cap`."""
        # A lognormal's median is exp(mu) and its mean is exp(mu + sigma^2 / 2).
        sigma = math.sqrt(2 * math.log(self.mean / self.median))
        lengths = rng.lognormal(math.log(self.median), sigma, size)
        return np.clip(np.rint(lengths), MIN_LENGTH, cap).astype(np.int64)


PROMPT_LENGTHS = LengthDistribution(mean=215, median=70)
OUTPUT_LENGTHS = LengthDistribution(mean=199, median=130)


@dataclass(frozen=True)
class Workload:
    """What one round is made of. `request_rate` is per second; None sends all at once."""

    num_requests: int
    vocab_size: int
    seed: int
    length_cap: int = 512
    request_rate: float | None = None

    def make_round(self, round_index: int) -> list[BenchmarkRequest]:
        """Return the requests of one round: the same for every contender, new in every round."""
        rng = np.random.default_rng((self.seed, round_index))
        prompt_lengths = PROMPT_LENGTHS.sample(rng, self.num_requests, self.length_cap)
        output_lengths = OUTPUT_LENGTHS.sample(rng, self.num_requests, self.length_cap)
        arrivals_s = self._sample_arrivals_s(rng)
        return [
            BenchmarkRequest(self._sample_token_ids(rng, prompt_length), max_tokens, arrival_s)
            for prompt_length, max_tokens, arrival_s in zip(
                prompt_lengths.tolist(), output_lengths.tolist(), arrivals_s, strict=True
            )
        ]

    def _sample_token_ids(self, rng: np.random.Generator, length: int) -> tuple[int, ...]:
        # The ends of a vocabulary hold single bytes and special tokens, which are not text.
        low, high = self.vocab_size // 4, self.vocab_size * 3 // 4
        token_ids: list[int] = rng.integers(low, high, length).tolist()
        return tuple(token_ids)

    def _sample_arrivals_s(self, rng: np.random.Generator) -> list[float]:
        if self.request_rate is None:
            return [0.0] * self.num_requests
        gaps_s = rng.exponential(1 / self.request_rate, self.num_requests)
        arrivals_s: list[float] = np.cumsum(gaps_s).tolist()
        return arrivals_s
