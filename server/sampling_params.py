"""How the tokens of a request are chosen: the parameters, their ranges and defaults."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from server.errors import InvalidRequestError, describe_value

__all__ = ["MAX_CHOICES", "SAMPLING_RANGES", "EarlyStopping", "SamplingFields", "SamplingParams"]

EarlyStopping = bool | Literal["never"]

MIN_SEED, MAX_SEED = -(2**63), 2**63 - 1
MAX_TOP_LOGPROBS = 20
MAX_CHOICES = 128
MAX_LOGIT_BIAS = 100.0
# Every entry costs a little time in every step.
MAX_BIASED_TOKENS = 1000
MAX_STOP_TOKENS = 128
MAX_BAD_WORDS = 1000
MAX_ALLOWED_TOKENS = 2**18
MAX_LENGTH_PENALTY = 10.0

# Lowest and highest value, both allowed; None means no upper limit. Unset values are in range.
SAMPLING_RANGES: Mapping[str, tuple[float, float | None]] = {
    "min_tokens": (0, None),
    "max_tokens": (0, None),
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "frequency_penalty": (-2.0, 2.0),
    "presence_penalty": (-2.0, 2.0),
    "seed": (MIN_SEED, MAX_SEED),
    "n": (1, MAX_CHOICES),
    "logprobs": (0, MAX_TOP_LOGPROBS),
    "prompt_logprobs": (0, MAX_TOP_LOGPROBS),
    "num_beams": (1, MAX_CHOICES),
    "length_penalty": (-MAX_LENGTH_PENALTY, MAX_LENGTH_PENALTY),
    "num_assistant_tokens": (0, None),
    "max_ngram_size": (1, None),
    "assistant_confidence_threshold": (0.0, 1.0),
}


class SamplingFields(TypedDict, total=False):
    """The fields of SamplingParams that somebody set; a missing key means unset."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    seed: int
    n: int
    logprobs: int
    prompt_logprobs: int
    ignore_eos: bool
    min_tokens: int
    stop_token_ids: tuple[int, ...]
    logit_bias: Mapping[int, float]
    allowed_token_ids: tuple[int, ...]
    bad_word_ids: tuple[tuple[int, ...], ...]
    num_beams: int
    length_penalty: float
    early_stopping: EarlyStopping
    num_assistant_tokens: int
    max_ngram_size: int
    assistant_confidence_threshold: float


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the tokens of one request are chosen; InvalidRequestError for a value out of range.

    `temperature` 0 is greedy. `top_k` -1 keeps all tokens. `logprobs` is the number of alternatives
    reported for each chosen token, and `prompt_logprobs` for each token of the prompt; None
    reports nothing. `max_tokens` None means up to the end of the model's context; 0 only reads the
    prompt. `stop_token_ids` end an answer as the model's own end tokens do; neither is sampled
    before there are `min_tokens`. `logit_bias` is added to the logits of tokens. Only
    `allowed_token_ids` are chosen, if there are any, end tokens included. Each of `bad_word_ids`
    is a series of tokens whose last one does not follow the others.

    `num_beams` above 1 is a beam search for the `n` likeliest answers, which needs temperature 0.
    The score of an answer is its log probability / its length ** `length_penalty`. The search ends
    when there are `num_beams` answers and, by `early_stopping`, at once (True), when no beam has a
    better score at its present length (False), or could have one at any length ("never").

    The last three are for speculative decoding, which changes no answer. A step proposes at most
    `num_assistant_tokens` tokens; 0 is no speculation, None as many as pay. Prompt lookup compares
    at most the last `max_ngram_size` tokens. A draft model proposes no further token after one that
    it thinks less likely than `assistant_confidence_threshold`.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    n: int = 1
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    ignore_eos: bool = False
    min_tokens: int = 0
    stop_token_ids: tuple[int, ...] = ()
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    allowed_token_ids: tuple[int, ...] | None = None
    bad_word_ids: tuple[tuple[int, ...], ...] = ()
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False
    num_assistant_tokens: int | None = None
    max_ngram_size: int | None = None
    assistant_confidence_threshold: float | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in SAMPLING_RANGES.items():
            value = getattr(self, name)
            if value is not None:
                _check_range(name, value, low, high)
        self._check_lengths()
        if self.top_k < -1:
            problem = "it must be at least 1, or -1 or 0 for all tokens"
            raise InvalidRequestError(f"top_k is {self.top_k}; {problem}", "top_k")
        self._check_token_ids()
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            raise InvalidRequestError(
                f"repetition_penalty is {self.repetition_penalty}; it must be greater than 0",
                "repetition_penalty",
            )
        self._check_beam_search()
        if self.num_assistant_tokens and self.assistant_confidence_threshold:
            raise InvalidRequestError(
                f"num_assistant_tokens is {self.num_assistant_tokens} and "
                f"assistant_confidence_threshold {self.assistant_confidence_threshold}; only one "
                "of them can say how many tokens are proposed",
                "assistant_confidence_threshold",
            )

    @property
    def num_sequences(self) -> int:
        """How many sequences run for it at the same time."""
        return max(self.n, self.num_beams)

    @property
    def max_draft_tokens(self) -> int | None:
        """The most tokens that a step may propose: 0 is none, None as many as pay."""
        if self.assistant_confidence_threshold and not self.num_assistant_tokens:
            return None
        return self.num_assistant_tokens

    @property
    def is_greedy(self) -> bool:
        """Whether each token is the most likely one, with no randomness."""
        return self.temperature == 0.0

    def _check_lengths(self) -> None:
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise InvalidRequestError(
                f"min_tokens is {self.min_tokens}; it must not exceed max_tokens, which is "
                f"{self.max_tokens}",
                "min_tokens",
            )

    def _check_token_ids(self) -> None:
        if self.allowed_token_ids is not None and not self.allowed_token_ids:
            problem = "allowed_token_ids is empty; at least one token must be possible"
            raise InvalidRequestError(problem, "allowed_token_ids")
        for name, most in (
            ("allowed_token_ids", MAX_ALLOWED_TOKENS),
            ("logit_bias", MAX_BIASED_TOKENS),
            ("stop_token_ids", MAX_STOP_TOKENS),
            ("bad_word_ids", MAX_BAD_WORDS),
        ):
            count = len(getattr(self, name) or ())
            if count > most:
                raise InvalidRequestError(
                    f"{name} has {count} tokens; at most {most} are possible", name
                )
        for token_id, bias in self.logit_bias.items():
            if not -MAX_LOGIT_BIAS <= bias <= MAX_LOGIT_BIAS:
                raise InvalidRequestError(
                    f"logit_bias of token {token_id} is {bias}; it must be from -100 to 100",
                    "logit_bias",
                )

    def _check_beam_search(self) -> None:
        if not (isinstance(self.early_stopping, bool) or self.early_stopping == "never"):
            found = describe_value(self.early_stopping)
            problem = f"early_stopping must be true, false or 'never', found {found}"
            raise InvalidRequestError(problem, "early_stopping")
        if self.num_beams == 1:
            # length_penalty and early_stopping compare beams, and there are none.
            return
        without_effect = {"temperature": (0.0,), "top_k": (-1, 0), "top_p": (1.0,), "min_p": (0.0,)}
        self._check_neutral(without_effect, "in a beam search")
        if self.max_tokens == 0:
            raise InvalidRequestError(
                "max_tokens is 0; a beam search needs at least 1", "max_tokens"
            )
        if self.n > self.num_beams:
            problem = f"n is {self.n}; a search with {self.num_beams} beams finds no more answers"
            raise InvalidRequestError(problem, "n")

    def _check_neutral(self, possible: Mapping[str, tuple[object, ...]], when: str) -> None:
        for name, neutral in possible.items():
            value = getattr(self, name)
            if value not in neutral:
                only = " or ".join(map(str, neutral))
                problem = f"{name} is {value}; {when} it has no effect and must be {only}"
                raise InvalidRequestError(problem, name)


def _check_range(name: str, value: float, low: float, high: float | None) -> None:
    # NaN fails both comparisons, so the test is written as "not inside".
    inside = low <= value if high is None else low <= value <= high
    if not inside:
        limit = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InvalidRequestError(f"{name} is {value}; it must be {limit}", name)
