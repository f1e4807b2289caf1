"""Times a few layers of a model, and its head, with some properties of the plugin."""

from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean
from time import perf_counter

import numpy as np
import openvino as ov

from server.engine.model.logits_head import LogitsHead
from server.engine.model.model_loader import LoadedModel
from server.engine.model.model_runner import ModelRunner
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import EngineRequest, Sequence
from server.host.metrics import EngineStats
from server.payloads import SamplingParams

__all__ = ["STEPS", "Times", "Trial", "make_cache_filler", "score", "steps_for"]

STEPS = ((1, 512, 1), (16, 512, 1), (64, 256, 1), (1, 0, 256))
"""The steps that are measured, as (sequences, tokens of context, new tokens): decode of one
sequence, of 16 and of 64, and prefill. The longer contexts of 64 would take too much memory."""

Times = tuple[float, float, float, float]
"""Seconds of each of `STEPS`."""

PROMPT_TOKENS, ANSWER_TOKENS = 200, 200
"""A usual request, as in ShareGPT: what counts is the time of these tokens."""

MOST_CACHE_BYTES = 256 << 20
CPU_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def score(times: Times, max_num_seqs: int) -> float:
    """What a usual request costs, alone and among others: the geometric mean, in seconds."""
    *decodes, prompt = times
    reading = prompt * PROMPT_TOKENS / STEPS[-1][2]
    counts = [num for num, _, _ in steps_for(max_num_seqs)[:-1]]
    shares = [time_s / num for time_s, num in zip(decodes, counts, strict=True)]
    return geometric_mean(ANSWER_TOKENS * share + reading for share in shares)


def steps_for(max_num_seqs: int) -> list[tuple[int, int, int]]:
    """`STEPS` of a server that runs no more than `max_num_seqs` sequences at once."""
    return [(min(num, max_num_seqs), context, new) for num, context, new in STEPS]


class Trial:
    """A compiled model of few layers; all layers of the real one take `factor` times as long.

    No more than `max_num_seqs` sequences run at once, and contexts end at `max_model_len`.
    `fill_cache` puts other data into the processor's caches.
    """

    def __init__(
        self,
        model: LoadedModel,
        factor: float,
        max_num_seqs: int,
        max_model_len: int,
        fill_cache: Callable[[], object],
    ) -> None:
        self.model = model
        self._factor = factor
        self._fill_cache = fill_cache
        size = model.block_size
        steps = steps_for(max_num_seqs)
        num_blocks = max(num * -(-(context + new + 1) // size) for num, context, new in steps)
        largest = max(num * new for num, _, new in steps)
        self._runner = ModelRunner(
            model, num_blocks, EngineStats(), largest, max(num for num, _, _ in steps)
        )
        self._head = LogitsHead(model)
        self._head.reset()
        self._steps = []
        for num, context, num_new in steps:
            end = min(context + num_new, max_model_len)
            self._steps.append(_make_step(num, max(0, end - num_new), end, size))
        self._rows = [_rows(model, num) for num, _, _ in steps]

    def run(self) -> Times:
        """The seconds of each of `STEPS`, for all layers and the head.

        A model decodes from memory: few layers would be found in the processor's cache.
        """
        times_s = []
        for step, rows in zip(self._steps, self._rows, strict=True):
            self._fill_cache()
            started = perf_counter()
            self._runner.run(step)
            ran = perf_counter()
            if rows is not None:
                self._head.compute(rows)
            times_s.append((ran - started) * self._factor + perf_counter() - ran)
        one, sixteen, many, prompt = times_s
        return one, sixteen, many, prompt

    def close(self) -> None:
        """Free the memory."""
        self._runner.close()
        del self.model, self._head, self._rows


def make_cache_filler() -> Callable[[], object]:
    """A function that fills the caches of the processor with other data."""
    sizes = [_parse(path.read_text()) for path in CPU_CACHES.glob("index*/size")]
    data = np.ones(min(2 * max(sizes, default=32 << 20), MOST_CACHE_BYTES) // 8, np.int64)
    return data.max


def _parse(text: str) -> int:
    """Bytes of a cache, for example of "32768K"; 0 if the text has another form."""
    number = text.strip().removesuffix("K")
    return int(number) << 10 if number.isdecimal() else 0


def _rows(model: LoadedModel, num: int) -> ov.Tensor | None:
    """Hidden states as the head gets them; None where there is no head."""
    if model.head is None:
        return None
    port = model.head.input(0)
    shape = [dim.get_length() if dim.is_static else 1 for dim in port.get_partial_shape()]
    return ov.Tensor(port.get_element_type(), ov.Shape([num, *shape[1:]]))


def _make_step(
    num_sequences: int, num_computed: int, num_tokens: int, block_size: int
) -> ScheduledStep:
    """A step on a KV cache with arbitrary contents: the time depends on the shapes alone.

    The sequences have one more token, so that the step computes no logits.
    """
    step = ScheduledStep()
    num_blocks = -(-num_tokens // block_size)
    for number in range(num_sequences):
        request = EngineRequest(number, np.zeros(num_tokens + 1, np.int64), SamplingParams(), 1)
        sequence = Sequence(request)
        sequence.num_computed_tokens = num_computed
        sequence.block_table.extend(list(range(number * num_blocks, (number + 1) * num_blocks)))
        step.add(sequence, num_tokens - num_computed)
    return step
