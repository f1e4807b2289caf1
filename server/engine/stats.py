"""Counters of an engine: where the time of its steps went, and how full it is."""

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class EngineStats:
    """Totals since the engine was made. Durations are seconds of wall time in the engine thread.

    `prepared_steps` were packed while the device computed the step before, within its `infer_s`.
    `prefix_waits` counts how often a prompt waited for another one that was reading the same
    prefix.
    """

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
    cached_tokens: int = 0
    prefix_waits: int = 0
    preemptions: int = 0
    failed_steps: int = 0

    def as_dict(self) -> dict[str, float]:
        """The counters by name."""
        return asdict(self)
