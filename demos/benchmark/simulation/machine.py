"""What steps of a model take on a machine."""

from dataclasses import dataclass

import numpy as np

from server.engine.scheduling.step_costs import StepCosts


@dataclass(frozen=True)
class Machine:
    """Milliseconds of steps by their number of tokens, and of each unit of `context_work`.

    Between the sizes the time is linear; beyond the last one it is proportional.
    """

    name: str
    step_ms: dict[int, float]
    context_ms: float

    def seconds(self, num_tokens: int, context: float) -> float:
        """Seconds of a step."""
        sizes = [*self.step_ms]
        last = sizes[-1]
        if num_tokens > last:
            base_ms = self.step_ms[last] * num_tokens / last
        else:
            base_ms = float(np.interp(num_tokens, sizes, [*self.step_ms.values()]))
        return (base_ms + self.context_ms * context) / 1000


class KnownCosts(StepCosts):
    """The costs that a server which has run for some time knows."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def predict(self, num_tokens: int, context: float, num_prompt_rows: int = 0) -> float:
        return self._machine.seconds(num_tokens, context) if num_tokens else 0.0


MACHINES = (
    Machine(
        "AMD Zen 4, two cores, int8",
        {1: 21, 4: 24, 8: 28, 16: 44, 32: 74, 64: 142},
        context_ms=0.0016,
    ),
    Machine(
        "Xeon with AMX, two cores, int8",
        {1: 27.6, 8: 35.6, 32: 55.5, 64: 90, 128: 110, 256: 160, 512: 290},
        context_ms=0.0016,
    ),
)
"""The Qwen2.5-0.5B shape, as measured; the context's part is that of 256 tokens after 8,192."""
