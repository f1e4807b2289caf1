"""Chooses the properties of the plugin that are fastest for a model on this machine."""

import logging
import os
from collections.abc import Iterator, Set
from dataclasses import dataclass
from math import exp, inf, log
from time import monotonic, perf_counter

import numpy as np
import openvino as ov

from server.engine.config import EngineConfig
from server.engine.model.cache_sizing import holds_wide_elements
from server.engine.model.device import find_device
from server.engine.model.model_loader import LoadedModel, check_files, load_model
from server.engine.model.model_runner import ModelRunner
from server.engine.model.tuning_record import Properties, TuningRecord
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import EngineRequest, Sequence
from server.engine.stats import EngineStats
from server.engine.system.cpu_quota import num_allowed_cpus
from server.errors import ModelLoadError
from server.payloads import SamplingParams

logger = logging.getLogger(__name__)

BUDGET_S = 30.0
"""No further candidate is tried when so much time has gone; the choice so far holds."""

LEAST_GAIN = 0.02
"""What a candidate must be better by: less may be noise."""

STEPS = ((1, 512, 1), (16, 512, 1), (1, 0, 256))
"""What is measured: sequences, context and new tokens of each. One stream, many, and a prompt."""

NUM_RUNS = 5
ROW_WISE = "65536"
"""A group of dynamic quantisation that covers any row, which the fused MLPs need."""

CACHE_PROPERTIES = ("KV_CACHE_", "KEY_CACHE_", "VALUE_CACHE_")
"""How the names of properties begin that say what the KV cache is made of."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """The properties that were chosen beside those that the user gave."""

    properties: Properties
    is_remembered: bool


def tune(config: EngineConfig, max_model_len: int | None) -> Tuning:
    """Choose properties that `plugin_config` leaves open, or find the choice of an earlier load.

    One choice after the other, each with the best of those before it. The score of a candidate is
    the geometric mean of its times for `STEPS`. Only the CPU plugin is tuned. Raises
    ModelLoadError where the model cannot run with the stated properties, or memory is too short
    for a KV cache.
    """
    device = find_device(config.device)
    if not device.can_be_tuned:
        return Tuning({}, False)
    check_files(config.models_path)
    record = TuningRecord(config, device.name)
    remembered = record.find()
    if remembered is not None:
        return Tuning(remembered, True)
    started = monotonic()
    properties = _Tuner(config, device.name, max_model_len).choose(started + BUDGET_S)
    logger.info("%s: tuned in %.1f s", config.models_path, monotonic() - started)
    record.keep(properties)
    return Tuning(properties, False)


class _Tuner:
    """Loads one candidate after the other, at no time two."""

    def __init__(self, config: EngineConfig, device: str, max_model_len: int | None) -> None:
        self._config = config
        self._models_path = config.models_path
        self._device = device
        self._max_model_len = max_model_len

    def choose(self, deadline: float) -> Properties:
        best: Properties = {}
        model = self._load(best)
        is_wide_cache_held = holds_wide_elements(self._config, model, self._max_model_len)
        choices = list(_choices(model, self._config, is_wide_cache_held))
        try:
            best_score = self._score(model, best)
        except RuntimeError as error:
            raise ModelLoadError(f"{self._models_path}: OpenVINO cannot run it: {error}") from error
        del model
        for candidates in choices:
            base = best
            for candidate in candidates:
                if monotonic() > deadline:
                    logger.info("%s: tuning ends early, after its time", self._models_path)
                    return best
                tried = {**base, **candidate}
                score = self._try(tried)
                if score < best_score * (1 - LEAST_GAIN):
                    best, best_score = tried, score
        return best

    def _try(self, properties: Properties) -> float:
        try:
            return self._score(self._load(properties), properties)
        except (ModelLoadError, RuntimeError) as error:
            logger.info("%s does not run with %s: %s", self._models_path, properties, error)
            return inf

    def _load(self, properties: Properties) -> LoadedModel:
        stated = self._config.plugin_config
        return load_model(self._models_path, self._device, {**stated, **properties})

    def _score(self, model: LoadedModel, properties: Properties) -> float:
        times_s = measure(model, self._max_model_len or 2**31)
        logger.info(
            "%s with %s: %s",
            self._models_path,
            properties or "the plugin's own properties",
            ", ".join(
                f"{1000 * time_s:.1f} ms for {num} x {new} tokens after {context}"
                for (num, context, new), time_s in zip(STEPS, times_s, strict=True)
            ),
        )
        return exp(sum(map(log, times_s)) / len(times_s))


def measure(model: LoadedModel, max_model_len: int) -> list[float]:
    """The shortest time of each of `STEPS`, in seconds; contexts end at `max_model_len`."""
    largest = max(num * new for num, _, new in STEPS)
    num_blocks = max(num * -(-(context + new) // model.block_size) for num, context, new in STEPS)
    max_num_rows = max(num for num, _, _ in STEPS)
    runner = ModelRunner(model, num_blocks, EngineStats(), largest, max_num_rows)
    try:
        times_s = []
        for num_sequences, context, num_new in STEPS:
            end = min(context + num_new, max_model_len)
            step = _make_step(num_sequences, max(0, end - num_new), end, model.block_size)
            times_s.append(min(_run_times(runner, step)))
        return times_s
    finally:
        runner.close()


def _run_times(runner: ModelRunner, step: ScheduledStep) -> Iterator[float]:
    runner.run(step)
    for _ in range(NUM_RUNS):
        started = perf_counter()
        runner.run(step)
        yield perf_counter() - started


def _make_step(
    num_sequences: int, num_computed: int, num_tokens: int, block_size: int
) -> ScheduledStep:
    """A step on a KV cache that holds anything: time depends on shapes alone."""
    step = ScheduledStep()
    num_blocks = -(-num_tokens // block_size)
    for number in range(num_sequences):
        request = EngineRequest(number, np.zeros(num_tokens, np.int64), SamplingParams(), 1)
        sequence = Sequence(request)
        sequence.num_computed_tokens = num_computed
        sequence.block_table.extend(list(range(number * num_blocks, (number + 1) * num_blocks)))
        step.add(sequence, num_tokens - num_computed)
    return step


def _choices(
    model: LoadedModel, config: EngineConfig, is_wide_cache_held: bool
) -> Iterator[list[Properties]]:
    """The candidates of each choice that the user has left open; what saves most is first."""
    stated = config.plugin_config.keys()
    group = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
    if not {"INFERENCE_PRECISION_HINT", "EXECUTION_MODE_HINT"} & stated:
        if group in stated:
            yield [{"INFERENCE_PRECISION_HINT": "f32"}]
        else:
            yield [{group: ROW_WISE}, {"INFERENCE_PRECISION_HINT": "f32", group: "128"}]
    if "INFERENCE_NUM_THREADS" not in stated:
        default = int(model.layers.get_property("INFERENCE_NUM_THREADS"))
        yield [{"INFERENCE_NUM_THREADS": num} for num in _thread_counts() if num != default]
    yield list(_cache_candidates(model, stated, is_wide_cache_held))


def _cache_candidates(
    model: LoadedModel, stated: Set[str], is_wide_cache_held: bool
) -> Iterator[Properties]:
    """Other forms of a cache of 8 bits."""
    keys = next(i for i in model.kv_inputs if i.name.startswith("key_cache."))
    if keys.element_type not in (ov.Type.u8, ov.Type.i8):
        return
    if "KEY_CACHE_QUANT_MODE" not in stated:
        yield {"KEY_CACHE_QUANT_MODE": "BY_TOKEN"}
    if is_wide_cache_held and not any(name.startswith(CACHE_PROPERTIES) for name in stated):
        # Where the plugin computes in bf16 it takes this for bf16, which AMX multiplies as it is.
        yield {"KV_CACHE_PRECISION": "f16"}


def _thread_counts() -> list[int]:
    """All processors that this process may use, and as many as it may use all the time."""
    return sorted({len(os.sched_getaffinity(0)), num_allowed_cpus()})
