"""The seven workloads: seeded conversations of random token ids; no data set is needed.

Lengths like ShareGPT's are lognormal with the means and medians that are usually quoted for it, cut
off at a cap. Every round has new ids, so that a prefix cache finds only what a workload repeats.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MIN_LENGTH = 4
PREFIX_LENGTH = 1024
NUM_USERS = 16
NUM_TURNS = 4
TURN_LENGTHS = (64, 128)
LONG_AMID_SHORT = 6 * 1024
NUM_SHORT = 15
SHORT_LENGTH = 64
# One request each; the fourth has the long prompt: the ones before it decode while it is computed,
# and the ones after it wait.
MIX_SPACING_S = 0.25
LONG_POSITION = 3


@dataclass(frozen=True)
class Turn:
    """What a user adds to a conversation, and how many tokens the answer has."""

    token_ids: tuple[int, ...]
    max_tokens: int


@dataclass(frozen=True)
class Conversation:
    """Turns that follow each other; a single request is a conversation of one turn.

    The prompt of a turn is all prompts and answers before it and its own ids. `arrival_s` counts
    from the start of the round. Background is load: its latency is nobody's question.
    """

    turns: tuple[Turn, ...]
    arrival_s: float = 0.0
    is_background: bool = False


@dataclass(frozen=True)
class LengthDistribution:
    """A lognormal distribution, given by its mean and median before the cap."""

    mean: float
    median: float

    def sample(self, rng: np.random.Generator, size: int, cap: int) -> npt.NDArray[np.int64]:
        """Sample integer lengths from MIN_LENGTH to `cap`."""
        # A lognormal's median is exp(mu) and its mean is exp(mu + sigma^2 / 2).
        sigma = math.sqrt(2 * math.log(self.mean / self.median))
        lengths = rng.lognormal(math.log(self.median), sigma, size)
        return np.clip(np.rint(lengths), MIN_LENGTH, cap).astype(np.int64)


PROMPT_LENGTHS = LengthDistribution(mean=215, median=70)
OUTPUT_LENGTHS = LengthDistribution(mean=199, median=130)


@dataclass(frozen=True)
class LoadSettings:
    """What the command line says about all workloads."""

    vocab_size: int
    seed: int = 0
    num_requests: int = 64
    length_cap: int = 512


class Round:
    """Generates the conversations of one round from seed, workload and round."""

    def __init__(self, settings: LoadSettings, workload_name: str, round_index: int) -> None:
        self.settings = settings
        seed = (settings.seed, zlib.crc32(workload_name.encode()), round_index)
        self.rng = np.random.default_rng(seed)

    def token_ids(self, length: int) -> tuple[int, ...]:
        """Random ids of text."""
        # The ends of a vocabulary hold single bytes and special tokens, which are not text.
        low, high = self.settings.vocab_size // 4, self.settings.vocab_size * 3 // 4
        return tuple(self.rng.integers(low, high, length).tolist())

    def turn(self, prompt_length: int, max_tokens: int) -> Turn:
        """A turn with a random prompt."""
        return Turn(self.token_ids(prompt_length), max_tokens)

    def sharegpt_like(self) -> list[Turn]:
        """Single requests with the lengths of ShareGPT."""
        size, cap = self.settings.num_requests, self.settings.length_cap
        prompts = PROMPT_LENGTHS.sample(self.rng, size, cap).tolist()
        outputs = OUTPUT_LENGTHS.sample(self.rng, size, cap).tolist()
        return [self.turn(*lengths) for lengths in zip(prompts, outputs, strict=True)]


Make = Callable[[Round, float | None], list[Conversation]]


@dataclass(frozen=True)
class Workload:
    """One row of the table. `headline` names the figure that decides it.

    `load_share`: requests come at this share of the capacity that was measured before; None where
    the workload says itself when its requests come.
    """

    name: str
    title: str
    headline: str
    make: Make
    load_share: float | None = None

    @property
    def family(self) -> str:
        """What `--workloads` calls it: W2 is W2@0.5, W2@0.75 and W2@1.0."""
        return self.name.partition("@")[0]

    def make_round(
        self, settings: LoadSettings, round_index: int, request_rate: float | None = None
    ) -> list[Conversation]:
        """The conversations of one round: the same for every contender, new in every round."""
        return self.make(Round(settings, self.name, round_index), request_rate)


def _at_once(drawn: Round, _: float | None) -> list[Conversation]:
    return [Conversation((turn,)) for turn in drawn.sharegpt_like()]


def _poisson(drawn: Round, request_rate: float | None) -> list[Conversation]:
    assert request_rate is not None
    turns = drawn.sharegpt_like()
    arrivals_s = np.cumsum(drawn.rng.exponential(1 / request_rate, len(turns))).tolist()
    return [
        Conversation((turn,), arrival_s) for turn, arrival_s in zip(turns, arrivals_s, strict=True)
    ]


def _multi_turn(drawn: Round, _: float | None) -> list[Conversation]:
    prefix = drawn.token_ids(PREFIX_LENGTH)
    low, high = TURN_LENGTHS
    lengths = drawn.rng.integers(low, high + 1, (NUM_USERS, NUM_TURNS, 2)).tolist()
    conversations = []
    for of_user in lengths:
        first, *later = (drawn.turn(*of_turn) for of_turn in of_user)
        turns = (Turn(prefix + first.token_ids, first.max_tokens), *later)
        conversations.append(Conversation(turns))
    return conversations


def _one_prompt(length: int, max_tokens: int) -> Make:
    return lambda drawn, _: [Conversation((drawn.turn(length, max_tokens),))]


def _long_amid_short(drawn: Round, _: float | None) -> list[Conversation]:
    lengths = [SHORT_LENGTH] * NUM_SHORT
    lengths.insert(LONG_POSITION, LONG_AMID_SHORT)
    return [
        Conversation(
            (drawn.turn(length, SHORT_LENGTH),),
            arrival_s=MIX_SPACING_S * position,
            is_background=length == LONG_AMID_SHORT,
        )
        for position, length in enumerate(lengths)
    ]


def _burst(drawn: Round, _: float | None) -> list[Conversation]:
    prefix = drawn.token_ids(PREFIX_LENGTH)
    return [Conversation((Turn(prefix + drawn.token_ids(32), 64),)) for _ in range(NUM_USERS)]


WORKLOADS = (
    Workload("W1", "ShareGPT-like, all at once", "output_tokens_per_s", _at_once),
    *(
        Workload(
            f"W2@{share}",
            f"ShareGPT-like, Poisson arrivals at {share} of capacity",
            "goodput_per_s",
            _poisson,
            load_share=share,
        )
        for share in (0.5, 0.75, 1.0)
    ),
    Workload(
        "W3",
        f"{NUM_USERS} users, {NUM_TURNS} turns each, shared prefix of {PREFIX_LENGTH} tokens",
        "output_tokens_per_s",
        _multi_turn,
    ),
    Workload("W4@4k", "one prompt of 4,096 tokens", "ttft_p50_ms", _one_prompt(4096, 32)),
    Workload("W4@8k", "one prompt of 8,192 tokens", "ttft_p50_ms", _one_prompt(8192, 32)),
    Workload(
        "W5",
        f"a prompt of {LONG_AMID_SHORT:,} tokens amid {NUM_SHORT} of {SHORT_LENGTH}; latency of "
        "the short ones",
        "ttft_p99_ms",
        _long_amid_short,
    ),
    Workload("W6", "a single stream, 128 in and 256 out", "tpot_p50_ms", _one_prompt(128, 256)),
    Workload(
        "W7",
        f"a burst of {NUM_USERS} with the same prefix of {PREFIX_LENGTH} tokens",
        "output_tokens_per_s",
        _burst,
    ),
)
FAMILIES = tuple(dict.fromkeys(workload.family for workload in WORKLOADS))


def find_workloads(names: Sequence[str]) -> list[Workload]:
    """The rows that the names ask for, a row ("W4@4k") or a family ("W4") each; KeyError if none.

    W1 comes first: it measures the capacity that W2 needs.
    """
    for name in names:
        if not any(name in (workload.name, workload.family) for workload in WORKLOADS):
            raise KeyError(name)
    return [one for one in WORKLOADS if one.name in names or one.family in names]
