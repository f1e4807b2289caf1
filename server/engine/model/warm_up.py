"""Runs a step of each size: a few at load, the others while the engine has nothing else to do."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Iterator
from statistics import median
from time import monotonic

from server.engine.config import EngineConfig
from server.engine.model.model_runner import ModelRunner
from server.engine.model.stateful.stateful_runner import StatefulRunner
from server.engine.model.tuning.saved_sizes import SavedSizes
from server.engine.scheduling.step_costs import StepCosts
from server.errors import ModelLoadError
from server.host.openvino_errors import error_summary

logger = logging.getLogger(__name__)

MAX_TOKENS = 512
"""The largest step that runs without requests; larger ones are slow enough to hide their first
cost."""

LOAD_S = 1.0
"""When so much time has passed at load, the model is ready, and no further size is run."""

TIMED_SIZES = (1, 16, 256, 64, 4, 128, 32, 8, 2, 512)
"""Sizes that run a second time in an idle moment, which tells what they cost. Without a record of
earlier traffic they run at load, in this order: any first few of them are spread over all sizes."""

IDLE_STEP_S = 0.25
IDLE_STEP_TOKENS = 4
"""A step in an idle moment takes at most IDLE_STEP_S, or as long as so many steps of one token: a
request that comes meanwhile waits for its end."""

FIRST_EXTRA_S = 0.1
"""What the first step of a size takes beside its cost, until some were measured."""

MEMORY_PIECE_S = 0.05
"""About what a piece of `memory_work` takes."""

STAND_IN_TOKENS = 16
STAND_IN_FACTOR = 2
"""Padding to a size that has run is cheaper than the first step of a size, if it has at most so
many tokens, or so many times as many."""

MAX_STAND_INS = 3
"""After so many steps that were padded further than usual, a size has its own first step."""

FIRST_SAVE, MAX_SAVE = 64, 16_384
"""Steps after which the sizes are saved: twice as many each time."""

SAVE_S = 5.0
"""How long the end of an engine waits for a disk that is busy with the sizes."""

FIRST_PROGRESS = 0.75
"""How far the load is when warm-up begins."""


class WarmUp:
    """Knows which sizes have run. The first step of a size costs much more than the others.

    Sizes that have not run yet are padded to larger ones that have, if there are any close by.
    `saved` remembers the sizes that traffic used from one load to the next. `memory_work` is done
    piece by piece after the sizes.
    """

    def __init__(
        self,
        runner: ModelRunner | StatefulRunner,
        costs: StepCosts,
        saved: SavedSizes | None = None,
        memory_work: Iterator[object] | None = None,
    ) -> None:
        self._runner = runner
        self._costs = costs
        self._saved = saved
        self._sizes = runner.token_sizes
        self._managed = managed = [size for size in self._sizes.sizes if size <= MAX_TOKENS]
        self._largest = managed[-1]
        known = {} if saved is None else saved.find()
        used = [size for size in managed if size in known and known[size].num_uses]
        used.sort(key=lambda size: -known[size].num_uses)
        self._at_load = used or [size for size in TIMED_SIZES if size in managed]
        # What traffic used is most likely to be used again; then the cheaper ones come first.
        self._cold = dict.fromkeys([1, *used, *managed])
        self._untimed = [size for size in managed if size in TIMED_SIZES]
        for size in managed:
            seconds = known[size].seconds if size in known else None
            if seconds is not None:
                costs.observe(size, 0.0, seconds)
                self._forget_untimed(size)
        self._memory_work = memory_work
        self._extras_s: deque[float] = deque(maxlen=9)
        self._num_padded: Counter[int] = Counter()
        self._unsaved: Counter[int] = Counter()
        self._num_unsaved = 0
        self._save_after = FIRST_SAVE
        self._saving = threading.Thread()

    def start(self, config: EngineConfig) -> None:
        """Run a step of one token, and those of other sizes that there is time for.

        Raises ModelLoadError where the model cannot run.
        """
        deadline = monotonic() + LOAD_S
        sizes = list(dict.fromkeys([1, *self._at_load]))
        try:
            for num_done, size in enumerate(sizes):
                if num_done and monotonic() > deadline:
                    break
                fraction = FIRST_PROGRESS + (1 - FIRST_PROGRESS) * num_done / len(sizes)
                config.report_progress("running the first steps", fraction)
                self._run_at_load(size)
        except RuntimeError as error:
            raise ModelLoadError(
                f"{config.models_path}: OpenVINO cannot run it: {error_summary(error)}"
            ) from error
        self._choose_stand_ins()
        logger.debug(
            "%s: %d step sizes have run, %d are left for idle moments",
            *(config.models_path, num_done, len(self._cold)),
        )

    def _run_at_load(self, size: int) -> None:
        seconds = self._runner.warm_up(size)
        del self._cold[size]
        # The machine may be slower than it was when the cost of one token was saved.
        if size == 1 or (size in self._untimed and size <= STAND_IN_TOKENS):
            self._time(size)
        elif size in self._untimed:
            # Too much, but known at once: a second run would take as long again.
            self._costs.observe(size, 0.0, seconds)

    def note(self, num_tokens: int) -> bool:
        """Count a step of requests. Returns whether its time tells what its size costs."""
        size = self._sizes.own_size(num_tokens)
        if size <= self._largest:
            self._unsaved[size] += 1
            self._num_unsaved += 1
        if not self._cold:
            return True
        ran = self._runner.last_size
        if ran in self._cold:
            self._warm(ran)
            return False
        if ran != size and size in self._cold:
            self._num_padded[size] += 1
            self._choose_stand_ins()
        # What was padded before a change of the stand-ins was not padded to this size.
        return ran == self._sizes.padded(num_tokens)

    @property
    def next_s(self) -> float | None:
        """Seconds that `run_next` should take; None while it has nothing to do."""
        if self._is_save_due:
            return 0.0
        size = self._next_size()
        if size is not None:
            return self._expected_s(size)
        return None if self._memory_work is None else MEMORY_PIECE_S

    def run_next(self) -> None:
        """Do one piece of what is left, for example run a step. Raises RuntimeError."""
        size = self._next_size()
        if self._is_save_due:
            # In a thread of its own: a request that comes now must not wait for a slow disk.
            self._start_saving()
        elif size is not None:
            self._run(size)
        elif self._memory_work is not None and next(self._memory_work, None) is None:
            self._memory_work = None

    def _run(self, size: int) -> None:
        if size not in self._cold:
            self._time(size)
            return
        known_s = self._costs.predict(size, 0.0)
        self._extras_s.append(max(0.0, self._runner.warm_up(size) - known_s))
        self._warm(size)

    def stop(self) -> None:
        """Run no further sizes without requests."""
        self._cold.clear()
        self._untimed.clear()
        self._choose_stand_ins()

    def save(self) -> None:
        """Remember the sizes that were used; nothing happens where none is to be remembered."""
        self._join_saving()
        if self._saved is not None and self._unsaved and not self._saving.is_alive():
            self._start_saving()
            self._join_saving()

    def _start_saving(self) -> None:
        assert self._saved is not None, "saving is due"
        costs = self._costs.medians
        known = {size: costs[size] for size in costs if size <= self._largest}
        arguments = (dict(self._unsaved), known)
        self._saving = threading.Thread(
            target=self._saved.add, args=arguments, name="step-sizes", daemon=True
        )
        self._saving.start()
        self._unsaved.clear()
        self._num_unsaved = 0
        self._save_after = min(2 * self._save_after, MAX_SAVE)

    def _join_saving(self) -> None:
        if self._saving.is_alive():
            self._saving.join(SAVE_S)

    @property
    def _is_save_due(self) -> bool:
        is_time = self._saved is not None and self._num_unsaved >= self._save_after
        return is_time and not self._saving.is_alive()

    def _next_size(self) -> int | None:
        """The most likely size that is short enough; one that has run is timed first."""
        one_s = self._costs.predict(1, 0.0)
        limit_s = max(IDLE_STEP_S, IDLE_STEP_TOKENS * one_s)
        sizes = (*(size for size in self._untimed if size not in self._cold), *self._cold)
        return next((size for size in sizes if self._expected_s(size) <= limit_s), None)

    def _expected_s(self, size: int) -> float:
        extra_s = median(self._extras_s) if self._extras_s else FIRST_EXTRA_S
        return self._costs.predict(size, 0.0) + (extra_s if size in self._cold else 0.0)

    def _time(self, size: int) -> None:
        self._costs.observe(size, 0.0, self._runner.warm_up(size))
        self._forget_untimed(size)

    def _forget_untimed(self, size: int) -> None:
        self._untimed = [other for other in self._untimed if other != size]

    def _warm(self, size: int) -> None:
        del self._cold[size]
        self._choose_stand_ins()

    def _choose_stand_ins(self) -> None:
        """Let each size that has not run be padded to the next one that has, if it is close by."""
        stand_ins: dict[int, int] = {}
        warm = None
        for size in reversed(self._managed):
            if size not in self._cold:
                warm = size
            elif warm is not None and self._may_stand_in(warm, size):
                stand_ins[size] = warm
        self._sizes.stand_ins = stand_ins

    def _may_stand_in(self, warm: int, size: int) -> bool:
        is_close = warm <= max(STAND_IN_TOKENS, STAND_IN_FACTOR * size)
        return is_close and self._num_padded[size] < MAX_STAND_INS
