"""Measures which plugin properties are fastest for a model on this machine."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import monotonic

from server.engine.config import EngineConfig
from server.engine.model.device import Device, find_device
from server.engine.model.loading.files import check_files
from server.engine.model.loading.untuned import has_int8_matrices
from server.engine.model.model_loader import compile_form, opened_form
from server.engine.model.tuning.candidates import Properties, find_choices
from server.engine.model.tuning.few_layers import FewLayers, cut_to_few_layers
from server.engine.model.tuning.saved_choices import Measured, SavedChoices, TuningRecord
from server.engine.model.tuning.trial import Times, Trial, make_cache_filler, score
from server.errors import ModelLoadError
from server.host.cpu_features import has_int8_amx
from server.host.openvino_errors import error_summary

logger = logging.getLogger(__name__)

BUDGET_S = 20.0
"""When so much time has passed, no further candidate is tried by this load."""

NUM_LAYERS = 4
"""Layers that are measured. All of a model are alike, or take turns in a short pattern."""

LEAST_GAIN = 0.03
"""A candidate must be faster by this share; a smaller gain may be noise."""

NUM_ROUNDS, LEAST_ROUNDS = 7, 3
"""How often two candidates are measured in turn; fewer times where one cannot win any more, or the
time is over."""

CANNOT_WIN = 1.05
"""A candidate that took so many times as long in every round is dropped."""

PROGRESS_SHARE = 0.5
"""The share of the load's progress that belongs to tuning."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was found, and where to keep it; None where it is kept already, or nothing is."""

    record: TuningRecord
    unsaved: SavedChoices | None = None

    @property
    def properties(self) -> Properties:
        """The chosen properties."""
        return self.record.properties

    def keep(self) -> None:
        """Save what is not saved yet, so that later loads need not measure it."""
        if self.unsaved is not None:
            self.unsaved.keep(self.record)


def tune(config: EngineConfig, max_model_len: int | None) -> Tuning:
    """Choose properties that `plugin_config` leaves open, or return what an earlier load chose.

    Where the time budget ends before all candidates have been measured, the next load goes on with
    those that are left. Raises ModelLoadError where the model cannot run with the stated
    properties, or memory is too short for a KV cache.
    """
    device = find_device(config.device)
    if not device.can_be_tuned:
        return Tuning(TuningRecord({}))
    check_files(config.models_path)
    saved = SavedChoices(config, device.name)
    found = saved.find()
    if found is not None and found.is_complete:
        logger.debug(
            "%s: tuned by an earlier load: %s",
            *(config.models_path, found.properties or "no changes"),
        )
        return Tuning(found)
    with opened_form(config.models_path, config.plugin_config) as form:
        if form.attention is None:
            # It computes sequences one by one; the candidates speed up steps of many sequences.
            return Tuning(TuningRecord({}, is_complete=True), saved)
        sample = cut_to_few_layers(form, NUM_LAYERS)
        del form
        tuner = _Tuner(config, device, sample, max_model_len, found)
        with tuner.closing():
            tuner.run()
    return Tuning(tuner.record(), saved)


class _Tuner:
    """Decides one choice after the other, each with the best properties of those before it.

    Each candidate is measured in turn with the best one so far, so that other load of the machine
    meets both. `share` of a candidate is its score as a share of that without any: the median of
    the rounds. Never more than two candidates are compiled at a time.
    """

    def __init__(
        self,
        config: EngineConfig,
        device: Device,
        sample: FewLayers,
        max_model_len: int | None,
        earlier: TuningRecord | None,
    ) -> None:
        self._config = config
        self._device = device
        self._sample = sample
        self._max_model_len = max_model_len
        self._measured = list(earlier.candidates) if earlier is not None else []
        self._best: Properties = {}
        self._best_share = 1.0
        self._is_complete = False
        self._deadline = monotonic() + BUDGET_S
        self._incumbent: tuple[Properties, Trial] | None = None
        self._fill_cache = make_cache_filler()

    def record(self) -> TuningRecord:
        """What was found so far."""
        sample = self._sample
        layers = (sample.num_kept, sample.num_layers)
        return TuningRecord(self._best, tuple(self._measured), self._is_complete, layers)

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Free what is compiled at the end."""
        try:
            yield
        finally:
            self._replace_incumbent(None)

    def run(self) -> None:
        """Measure candidates until none is left, or the time is over but one was measured."""
        started = monotonic()
        choices = self._measure_default()
        num_candidates = sum(map(len, choices))
        num_before = len(self._measured)
        for candidates in choices:
            base = self._best
            for candidate in candidates:
                tried = {**base, **candidate}
                found = self._find(tried)
                if found is None:
                    if len(self._measured) > num_before and monotonic() > self._deadline:
                        logger.debug(
                            "%s: tuning stopped after %.0f s; the next load goes on: %s so far",
                            *(self._config.models_path, monotonic() - started),
                            self._best or "no changes",
                        )
                        return
                    number = len(self._measured)
                    self._config.report_progress(
                        f"tuning: measuring candidate {number} of {num_candidates}",
                        PROGRESS_SHARE * number / (num_candidates + 1),
                    )
                    found = self._compare(tried)
                if self._wins(found):
                    assert found.share is not None, "it has won"
                    self._best, self._best_share = tried, found.share
        self._is_complete = True
        logger.debug(
            "%s: tuned in %.1f s: %s, requests take %.0f%% of the time",
            *(self._config.models_path, monotonic() - started),
            *(self._best or "no changes", 100 * self._best_share),
        )

    def _measure_default(self) -> list[list[Properties]]:
        """Measure the stated properties alone; returns the open choices."""
        self._config.report_progress("tuning: measuring the defaults", 0.0)
        trial = self._make_trial({})
        self._replace_incumbent(({}, trial))
        choices = find_choices(
            trial.model,
            self._config,
            self._max_model_len,
            self._sample.factor,
            is_fused=has_int8_amx() and has_int8_matrices(self._sample.form),
        )
        try:
            trial.run()
            if self._find({}) is None:
                self._note(Measured({}, 1.0, trial.run()))
        except RuntimeError as error:
            raise ModelLoadError(
                f"{self._config.models_path}: OpenVINO cannot run it: {error_summary(error)}"
            ) from error
        return choices

    def _compare(self, tried: Properties) -> Measured:
        """Measure a candidate in turn with the best one so far."""
        trial: Trial | None = None
        try:
            best = self._best_trial()
            trial = self._make_trial(tried)
            trial.run()
            found = self._note(self._take_turns(tried, trial, best))
            if self._wins(found):
                self._replace_incumbent((tried, trial))
                trial = None
            return found
        except (ModelLoadError, RuntimeError) as error:
            return self._note_failure(tried, error)
        finally:
            if trial is not None:
                trial.close()

    def _best_trial(self) -> Trial:
        """That of the best properties so far, which an earlier load may have found."""
        if self._incumbent is not None and self._incumbent[0] == self._best:
            return self._incumbent[1]
        self._replace_incumbent(None)
        trial = self._make_trial(self._best)
        self._incumbent = (self._best, trial)
        trial.run()
        return trial

    def _take_turns(self, tried: Properties, trial: Trial, incumbent: Trial) -> Measured:
        shares: list[float] = []
        times: list[Times] = []
        max_num_seqs = self._config.max_num_seqs
        while len(shares) < NUM_ROUNDS:
            of_best = score(incumbent.run(), max_num_seqs)
            times.append(trial.run())
            shares.append(score(times[-1], max_num_seqs) / of_best)
            is_over = min(shares) > CANNOT_WIN or monotonic() > self._deadline
            if len(shares) >= LEAST_ROUNDS and is_over:
                break
        one, sixteen, many, prompt = (median(column) for column in zip(*times, strict=True))
        return Measured(tried, median(shares) * self._best_share, (one, sixteen, many, prompt))

    def _make_trial(self, properties: Properties) -> Trial:
        config = self._config
        compiled = compile_form(
            self._sample.copy_form(),
            config.models_path,
            self._device,
            {**config.plugin_config, **properties},
        )
        longest = self._max_model_len or 2**31
        factor, num_seqs = self._sample.factor, config.max_num_seqs
        return Trial(compiled, factor, num_seqs, longest, self._fill_cache)

    def _replace_incumbent(self, new: tuple[Properties, Trial] | None) -> None:
        if self._incumbent is not None:
            self._incumbent[1].close()
        self._incumbent = new

    def _wins(self, found: Measured) -> bool:
        return found.share is not None and found.share < self._best_share * (1 - LEAST_GAIN)

    def _find(self, properties: Properties) -> Measured | None:
        return next((each for each in self._measured if each.properties == properties), None)

    def _note(self, found: Measured) -> Measured:
        self._measured.append(found)
        logger.debug("%s: %s", self._config.models_path, found)
        return found

    def _note_failure(self, tried: Properties, error: Exception) -> Measured:
        logger.debug("%s does not run with %s: %s", self._config.models_path, tried, error)
        return self._note(Measured(tried, None, None))
