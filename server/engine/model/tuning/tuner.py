"""Measures which plugin properties are fastest for a model on this machine."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, inf, log
from time import monotonic, perf_counter

import numpy as np

from server.engine.config import EngineConfig
from server.engine.model.device import find_device
from server.engine.model.loading.files import check_files
from server.engine.model.model_loader import LoadedModel, load_model
from server.engine.model.model_runner import ModelRunner
from server.engine.model.tuning.candidates import Properties, find_choices
from server.engine.model.tuning.saved_choices import SavedChoices, Scores
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.sequence import EngineRequest, Sequence
from server.errors import ModelLoadError
from server.host.metrics import EngineStats
from server.host.openvino_errors import error_summary
from server.payloads import SamplingParams

logger = logging.getLogger(__name__)

BUDGET_S = 30.0
"""When so much time has passed, no further candidate is tried."""

LEAST_GAIN = 0.02
"""A candidate must be faster by this share; a smaller gain may be noise."""

STEPS = ((1, 512, 1), (16, 512, 1), (1, 0, 256))
"""The steps that are measured, as (sequences, tokens of context, new tokens): decode of one
sequence, decode of 16, and prefill."""

NUM_RUNS = 5

PROGRESS_SHARE = 0.5
"""The share of the load's progress that belongs to tuning."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """The chosen properties, and where to keep them; None where they are kept already.

    `scores` are what was measured so far, None after the last candidate.
    """

    properties: Properties
    unsaved: SavedChoices | None = None
    scores: Scores | None = None

    def keep(self) -> None:
        """Save what is not saved yet, so that later loads need not measure it."""
        if self.unsaved is not None:
            self.unsaved.keep(self.properties, self.scores)


def tune(config: EngineConfig, max_model_len: int | None) -> Tuning:
    """Choose properties that `plugin_config` leaves open, or return what an earlier load chose.

    Where the time budget ends before all candidates have been measured, the next load goes on with
    those that are left. Raises ModelLoadError where the model cannot run with the stated
    properties, or memory is too short for a KV cache.
    """
    device = find_device(config.device)
    if not device.can_be_tuned:
        return Tuning({})
    check_files(config.models_path)
    saved = SavedChoices(config, device.name)
    found = saved.find()
    if found is not None:
        logger.debug("%s: tuned by an earlier load: %s", config.models_path, found or "no changes")
        return Tuning(found)
    tuner = _Tuner(config, device.name, max_model_len, saved.find_scores())
    tuner.run()
    return Tuning(tuner.best, saved, None if tuner.is_complete else tuner.scores)


class _Tuner:
    """Decides one choice after the other, each with the best properties of those before it.

    The score of a candidate is the geometric mean of its times for `STEPS`, as a share of that
    without it. `scores` are those of earlier loads, to which this one adds. Never two models are
    loaded at a time.
    """

    def __init__(
        self, config: EngineConfig, device: str, max_model_len: int | None, scores: Scores
    ) -> None:
        self.best: Properties = {}
        self.scores = scores
        self.is_complete = False
        self._config = config
        self._models_path = config.models_path
        self._device = device
        self._max_model_len = max_model_len
        self._deadline = monotonic() + BUDGET_S
        self._default_s = 1.0
        self._num_candidates = 0

    def run(self) -> None:
        """Choose `best`; `is_complete` tells whether later loads have nothing left to measure.

        A model so slow that no candidate can be measured is not tuned by later loads either.
        """
        started = monotonic()
        choices, self._default_s = self._measure_default()
        best_score = 1.0
        num_known = len(self.scores)
        self._num_candidates = sum(map(len, choices))
        for candidates in choices:
            base = self.best
            for candidate in candidates:
                tried = {**base, **candidate}
                if _as_text(tried) not in self.scores and monotonic() > self._deadline:
                    self.is_complete = len(self.scores) == num_known
                    logger.debug(
                        "%s: tuning stopped after %.0f s with %d of %d candidates measured%s: %s",
                        *(self._models_path, BUDGET_S, len(self.scores), self._num_candidates),
                        "" if self.is_complete else "; the next load goes on",
                        self.best or "no changes",
                    )
                    return
                score = self._score_of(tried)
                if score < best_score * (1 - LEAST_GAIN):
                    self.best, best_score = tried, score
        self.is_complete = True
        logger.debug(
            "%s: tuned in %.1f s: %s, steps take %.0f%% of the time",
            *(self._models_path, monotonic() - started),
            self.best or "no changes",
            100 * best_score,
        )

    def _measure_default(self) -> tuple[list[list[Properties]], float]:
        """The open choices, and the score with the stated properties alone."""
        self._config.report_progress("tuning: measuring the defaults", 0.0)
        model = self._load({})
        if model.states is not None:
            # It computes sequences one by one; the candidates speed up steps of many sequences.
            return [], 1.0
        choices = find_choices(model, self._config, self._max_model_len)
        try:
            return choices, self._score(model, {})
        except RuntimeError as error:
            raise ModelLoadError(
                f"{self._models_path}: OpenVINO cannot run it: {error_summary(error)}"
            ) from error

    def _score_of(self, properties: Properties) -> float:
        key = _as_text(properties)
        if key not in self.scores:
            self.scores[key] = self._try(properties, 1 + len(self.scores))
        score = self.scores[key]
        return inf if score is None else score

    def _try(self, properties: Properties, number: int) -> float | None:
        self._config.report_progress(
            f"tuning: measuring candidate {number} of {self._num_candidates}",
            PROGRESS_SHARE * number / (self._num_candidates + 1),
        )
        try:
            return self._score(self._load(properties), properties) / self._default_s
        except (ModelLoadError, RuntimeError) as error:
            logger.debug("%s does not run with %s: %s", self._models_path, properties, error)
            return None

    def _load(self, properties: Properties) -> LoadedModel:
        stated = self._config.plugin_config
        return load_model(self._models_path, self._device, {**stated, **properties})

    def _score(self, model: LoadedModel, properties: Properties) -> float:
        times_s = measure(model, self._max_model_len or 2**31)
        logger.debug(
            "%s with %s: %s",
            self._models_path,
            properties or "the plugin's own properties",
            ", ".join(
                f"{1000 * time_s:.1f} ms for {num} x {new} tokens after {context}"
                for (num, context, new), time_s in zip(STEPS, times_s, strict=True)
            ),
        )
        return exp(sum(map(log, times_s)) / len(times_s))


def _as_text(properties: Properties) -> str:
    return json.dumps(properties, sort_keys=True)


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
    """A step on a KV cache with arbitrary contents: the time depends on the shapes alone."""
    step = ScheduledStep()
    num_blocks = -(-num_tokens // block_size)
    for number in range(num_sequences):
        request = EngineRequest(number, np.zeros(num_tokens, np.int64), SamplingParams(), 1)
        sequence = Sequence(request)
        sequence.num_computed_tokens = num_computed
        sequence.block_table.extend(list(range(number * num_blocks, (number + 1) * num_blocks)))
        step.add(sequence, num_tokens - num_computed)
    return step
