"""The unfinished requests that ask for the model's output at the end of their prompt."""

import numpy as np
import numpy.typing as npt

from server.engine.model.model_runner import StepOutput
from server.engine.pooling import PooledOutput
from server.engine.requests.outputs import SequenceOutput
from server.engine.requests.request_stats import RequestStats
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import EngineRequest, Sequence
from server.errors import GenerationError
from server.host.metrics import EngineStats

Floats = npt.NDArray[np.float32]

BAD_OUTPUT = "the model gave NaN or infinity at the end of the prompt"


class PooledPrompts:
    """Unfinished pooling requests, by their number; each has one sequence."""

    def __init__(self, stats: EngineStats) -> None:
        self._stats = RequestStats(stats)
        self._prompts: dict[int, Sequence] = {}

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._prompts

    @property
    def request_ids(self) -> set[int]:
        """The unfinished requests."""
        return set(self._prompts)

    @property
    def sequences(self) -> list[Sequence]:
        """The sequences of all requests."""
        return list(self._prompts.values())

    def add(self, request: EngineRequest, arrival: int) -> Sequence:
        """Begin a request; returns the sequence to schedule for it."""
        sequence = self._prompts[request.request_id] = Sequence(request, arrival=arrival)
        return sequence

    def end(self, request_id: int, scheduler: Scheduler, reason: str) -> None:
        """Forget a request and free its blocks; `reason` is for the metrics."""
        sequence = self._prompts.pop(request_id)
        scheduler.remove(sequence)
        self._stats.note_end(sequence.request, reason)

    def fail(self, request_id: int, reason: str, scheduler: Scheduler) -> list[SequenceOutput]:
        """End a request with an error."""
        self.end(request_id, scheduler, "error")
        return [SequenceOutput(request_id, 0, error=GenerationError(reason))]

    def clear(self) -> None:
        """Forget all requests, because the scheduler and the blocks are gone."""
        self._prompts.clear()

    def pool(self, output: StepOutput) -> list[tuple[Sequence, Floats]]:
        """The values for each prompt that a step has completed; changes nothing."""
        return [
            (sequence, _values(output, row))
            for row, sequence in enumerate(output.sequences)
            if sequence.request.pooling is not None
        ]

    def advance(
        self, pooled: list[tuple[Sequence, Floats]], scheduler: Scheduler
    ) -> list[SequenceOutput]:
        """End the requests whose values are known."""
        outputs = []
        for sequence, values in pooled:
            request = sequence.request
            if not np.isfinite(values).all():
                # What the blocks hold may be the reason.
                scheduler.discard(sequence)
                outputs += self.fail(request.request_id, BAD_OUTPUT, scheduler)
                continue
            self.end(request.request_id, scheduler, "stop")
            found = PooledOutput(values, request.num_cached_tokens)
            outputs.append(
                SequenceOutput(request.request_id, 0, finish_reason="stop", pooled=found)
            )
        return outputs


def _values(output: StepOutput, row: int) -> Floats:
    """A copy, as the output is valid until the next step only."""
    pooling = output.sequences[row].request.pooling
    assert pooling is not None, "the caller has asked"
    if pooling.token_ids is None:
        return np.array(output.hidden[row], np.float32)
    rows = np.full(len(pooling.token_ids), row)
    return output.logits.select(rows).of_tokens(pooling.token_ids)
