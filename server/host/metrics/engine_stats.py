"""What an engine counts: where the time of its steps went, and how its requests fared."""

from dataclasses import dataclass, field, fields

from server.host.metrics.histogram import Histogram

__all__ = ["EngineLoad", "EngineStats"]

# vLLM's buckets (vllm/v1/metrics/loggers.py), which dashboards and alerts are made for.
FIRST_TOKEN_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
INTER_TOKEN_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0),
)
REQUEST_S = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0),
    *(240.0, 480.0, 960.0, 1920.0, 7680.0),
)
STEP_TOKENS = (1, *(8 * 2**power for power in range(12)))
NUM_CHOICES = (1, 2, 5, 10, 20)
NUM_PREEMPTIONS = (1, 2, 3, 4, 5, 10, 20)
FINE_S = tuple(0.0005 * 1.1**power for power in range(150))
"""For percentiles, which need a bucket every 10%: 0.5 ms to 12 minutes."""

DEFAULT_MAX_MODEL_LEN = 131_072


def _one_two_five(limit: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50, ... up to a limit."""
    steps = (digit * 10**power for power in range(12) for digit in (1, 2, 5))
    return tuple(step for step in steps if step <= limit)


@dataclass(slots=True)
class EngineStats:
    """Totals since the engine was made. Durations are seconds of wall time.

    Only the engine's thread writes them. Others may read at any time: each number is right, though
    two of them may be of different moments.

    `prepared_steps` were packed while the device computed the step before, within its `infer_s`.
    `prefix_waits` counts how often a prompt waited for another one that was reading the same
    prefix. `num_drafts` counts how often tokens were proposed for a sequence (speculative
    decoding), `num_draft_tokens` these tokens, and `accepted_per_position` those that became part
    of an answer, by their place in the proposal, from 0. `finished` counts the requests that are
    over by their reason. The histograms have a value for each request, except `inter_token`, one
    for each token but the first of an answer, and
    `step_tokens`, one for each step.
    """

    max_model_len: int = DEFAULT_MAX_MODEL_LEN
    num_steps: int = 0
    prepared_steps: int = 0
    step_s: float = 0.0
    infer_s: float = 0.0
    schedule_s: float = 0.0
    pack_s: float = 0.0
    sample_s: float = 0.0
    tokens: int = 0
    generated_tokens: int = 0
    prompt_tokens: int = 0
    looked_up_tokens: int = 0
    cached_tokens: int = 0
    prefix_waits: int = 0
    preemptions: int = 0
    failed_steps: int = 0
    num_drafts: int = 0
    num_draft_tokens: int = 0
    accepted_per_position: dict[int, int] = field(default_factory=dict)
    finished: dict[str, int] = field(
        default_factory=lambda: {"stop": 0, "length": 0, "abort": 0, "error": 0, "repetition": 0}
    )
    first_token: Histogram = field(init=False)
    inter_token: Histogram = field(init=False)
    token_mean: Histogram = field(init=False)
    whole: Histogram = field(init=False)
    queue: Histogram = field(init=False)
    inference: Histogram = field(init=False)
    prefill: Histogram = field(init=False)
    decode: Histogram = field(init=False)
    step_tokens: Histogram = field(init=False)
    num_choices: Histogram = field(init=False)
    num_preemptions: Histogram = field(init=False)
    fine_first_token: Histogram = field(init=False)
    fine_inter_token: Histogram = field(init=False)
    prompt_sizes: Histogram = field(init=False)
    computed_sizes: Histogram = field(init=False)
    answer_sizes: Histogram = field(init=False)
    longest_choices: Histogram = field(init=False)
    wanted_sizes: Histogram = field(init=False)

    def __post_init__(self) -> None:
        by_length = _one_two_five(self.max_model_len)
        for names, bounds in (
            (("first_token",), FIRST_TOKEN_S),
            (("inter_token", "token_mean"), INTER_TOKEN_S),
            (("whole", "queue", "inference", "prefill", "decode"), REQUEST_S),
            (("step_tokens",), STEP_TOKENS),
            (("num_choices",), NUM_CHOICES),
            (("num_preemptions",), NUM_PREEMPTIONS),
            (("fine_first_token", "fine_inter_token"), FINE_S),
            (("prompt_sizes", "computed_sizes", "answer_sizes"), by_length),
            (("longest_choices", "wanted_sizes"), by_length),
        ):
            for name in names:
                setattr(self, name, Histogram(bounds))

    @property
    def num_accepted_tokens(self) -> int:
        """Proposed tokens that became part of an answer."""
        # A copy: the engine's thread adds keys.
        return sum(self.accepted_per_position.copy().values())

    def as_dict(self) -> dict[str, float]:
        """The counters by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, int | float)}

    def add(self, other: "EngineStats") -> None:
        """Count what another engine has counted."""
        for each in fields(self):
            own, added = getattr(self, each.name), getattr(other, each.name)
            if isinstance(own, Histogram):
                own.add(added)
            elif isinstance(own, dict):
                # A copy: the thread of an engine that lives adds keys.
                counts = added.copy().items()
                own.update({key: own.get(key, 0) + value for key, value in counts})
            elif each.name != "max_model_len":
                setattr(self, each.name, own + added)


@dataclass(frozen=True, slots=True)
class AdaptersInUse:
    """How many adapters an engine has, and the names of those whose requests run, or wait."""

    num_loaded: int = 0
    running: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What an engine has to do now, and the size of its KV cache in blocks.

    `adapters` is None for a model that takes none.
    """

    num_running: int
    num_waiting: int
    num_used_blocks: int
    num_blocks: int
    block_size: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    enable_prefix_caching: bool
    adapters: AdaptersInUse | None = None

    @property
    def kv_usage(self) -> float:
        """The part of the KV cache that sequences hold, 0 to 1."""
        return self.num_used_blocks / self.num_blocks if self.num_blocks else 0.0
