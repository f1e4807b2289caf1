"""WarmUp: which sizes run at load, which in idle moments, and what the others are padded to."""

import threading
from pathlib import Path
from typing import Any

import pytest

from server.engine.config import EngineConfig
from server.engine.model import warm_up as module
from server.engine.model.step_sizes import StepSizes
from server.engine.model.tuning.saved_sizes import SavedSizes
from server.engine.model.warm_up import TIMED_SIZES, WarmUp
from server.engine.scheduling.step_costs import StepCosts
from server.errors import ModelLoadError

CONFIG = EngineConfig(Path("model"))


class Runner:
    """In place of a model runner: remembers the sizes that it ran, each of which takes time."""

    def __init__(self, now_s: list[float], token_s: float = 0.0001, step_s: float = 0.001) -> None:
        self.token_sizes = StepSizes(1000)
        self.sizes: list[int] = []
        self.last_size = 0
        self.now_s = now_s
        self.token_s = token_s
        self.step_s = step_s

    def warm_up(self, size: int) -> float:
        self.sizes.append(size)
        seconds = self.step_s + self.token_s * size
        self.now_s[0] += seconds
        return seconds


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of a fake clock, which only runners advance."""
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "MAX_TOKENS", 512)
    return now


def make(runner: Runner, saved: SavedSizes | None = None) -> tuple[WarmUp, StepCosts]:
    costs = StepCosts(runner.token_sizes.padded)
    return WarmUp(runner, costs, saved), costs  # type: ignore[arg-type]


def run_all(warm_up: WarmUp) -> None:
    while warm_up.next_s is not None:
        warm_up.run_next()


def test_a_slow_model_is_ready_after_one_step_of_one_token(now_s: list[float]) -> None:
    runner = Runner(now_s, step_s=module.LOAD_S)
    warm_up, costs = make(runner)
    warm_up.start(CONFIG)
    assert set(runner.sizes) == {1}
    assert costs.predict(1, 0) == module.LOAD_S + runner.token_s


def test_costs_of_spread_sizes_are_known_from_the_load_on(now_s: list[float]) -> None:
    runner = Runner(now_s, step_s=module.LOAD_S / 5.9)
    warm_up, costs = make(runner)
    warm_up.start(CONFIG)
    assert sorted(costs.medians) == [1, 16, 64, 256]
    assert warm_up.next_s is not None


def test_idle_moments_run_every_size_and_time_some(now_s: list[float]) -> None:
    runner = Runner(now_s)
    warm_up, costs = make(runner)
    warm_up.start(CONFIG)
    num_at_load = len(runner.sizes)
    run_all(warm_up)
    managed = {size for size in runner.token_sizes.sizes if size <= 512}
    assert set(runner.sizes) == managed
    assert set(costs.medians) == set(TIMED_SIZES)
    idle = runner.sizes[num_at_load:]
    again = [32, 64, 128, 256, 512]
    assert idle[: len(again)] == again, "at load they ran only once"
    assert idle[len(again) :] == sorted(idle[len(again) :]), "the cheap ones come first"
    assert all(runner.token_sizes.padded(size) == size for size in managed)


def test_no_idle_step_is_longer_than_the_bound(now_s: list[float]) -> None:
    runner = Runner(now_s, token_s=0.003)
    warm_up, _ = make(runner)
    warm_up.start(CONFIG)
    num_at_load = len(runner.sizes)
    run_all(warm_up)
    idle = runner.sizes[num_at_load:]
    assert idle
    assert runner.step_s + runner.token_s * max(idle) <= module.IDLE_STEP_S


def test_a_slow_model_has_longer_idle_steps(now_s: list[float]) -> None:
    runner = Runner(now_s, token_s=0.0, step_s=2 * module.IDLE_STEP_S)
    warm_up, _ = make(runner)
    warm_up.start(CONFIG)
    run_all(warm_up)
    assert {2, 3, 512} <= set(runner.sizes)


def test_a_size_that_has_not_run_is_padded_to_a_close_one_that_has(now_s: list[float]) -> None:
    runner = Runner(now_s, step_s=module.LOAD_S / 5.9)
    warm_up, _ = make(runner)
    warm_up.start(CONFIG)
    padded = runner.token_sizes.padded
    assert [padded(n) for n in (1, 2, 16, 17, 30, 31, 64, 65, 128, 129)] == [
        *(1, 16, 16, 18, 30, 64, 64, 72, 256, 256),
    ]


def test_a_size_that_is_often_used_gets_a_first_step_of_its_own(now_s: list[float]) -> None:
    runner = Runner(now_s, step_s=module.LOAD_S / 5.9)
    warm_up, _ = make(runner)
    warm_up.start(CONFIG)
    padded = runner.token_sizes.padded
    fair = []
    for _ in range(module.MAX_STAND_INS + 2):
        runner.last_size = padded(40)
        fair.append((runner.last_size, warm_up.note(40)))
    last_stand_in = (64, False), (40, False)
    assert fair == [*[(64, True)] * (module.MAX_STAND_INS - 1), *last_stand_in, (40, True)]
    assert padded(39) == 40


def test_memory_is_arranged_after_the_sizes(now_s: list[float]) -> None:
    runner = Runner(now_s)
    at: list[int] = []
    pieces = (at.append(len(runner.sizes)) or 1 for _ in range(3))  # type: ignore[func-returns-value]
    warm_up = WarmUp(runner, StepCosts(), None, pieces)  # type: ignore[arg-type]
    warm_up.start(CONFIG)
    run_all(warm_up)
    assert at == [len(runner.sizes)] * 3


def test_a_model_that_cannot_run_is_not_loaded(now_s: list[float]) -> None:
    class Broken(Runner):
        def warm_up(self, size: int) -> float:
            raise RuntimeError("Check 'x' failed")

    warm_up, _ = make(Broken(now_s))
    with pytest.raises(ModelLoadError, match="model: OpenVINO cannot run it: Check 'x' failed"):
        warm_up.start(CONFIG)


def test_progress_is_reported(now_s: list[float]) -> None:
    told: list[tuple[str, float]] = []
    config = EngineConfig(Path("model"), on_progress=lambda *news: told.append(news))
    runner = Runner(now_s)
    make(runner)[0].start(config)
    fractions = [fraction for _, fraction in told]
    assert len(told) == len(set(runner.sizes))
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1] < 1.0) == (module.FIRST_PROGRESS, True)


def test_a_restart_begins_with_what_traffic_used(now_s: list[float], folder: Path) -> None:
    saved = SavedSizes(EngineConfig(folder), "CPU", {})
    runner = Runner(now_s)
    warm_up, costs = make(runner, saved)
    warm_up.start(CONFIG)
    for num_tokens, num_steps in ((5, 3), (200, 9), (600, 20)):
        for _ in range(num_steps):
            runner.last_size = runner.token_sizes.padded(num_tokens)
            warm_up.note(num_tokens)
    known = dict(costs.medians)
    warm_up.save()

    runner = Runner(now_s, step_s=module.LOAD_S / 5)
    warm_up, costs = make(runner, saved)
    assert known
    assert costs.medians == known, "what steps cost is known before any has run"
    warm_up.start(CONFIG)
    assert runner.sizes == [1, 1, 208, 5]
    run_all(warm_up)
    assert set(runner.sizes) > set(range(1, 17))


def test_sizes_are_saved_in_idle_moments_too(now_s: list[float], folder: Path) -> None:
    saved = SavedSizes(EngineConfig(folder), "CPU", {})
    runner = Runner(now_s)
    warm_up, _ = make(runner, saved)
    warm_up.start(CONFIG)
    run_all(warm_up)
    for _ in range(module.FIRST_SAVE):
        warm_up.note(3)
    assert warm_up.next_s == 0.0
    warm_up.run_next()
    assert warm_up.next_s is None
    warm_up.save()
    assert saved.find()[3].num_uses == module.FIRST_SAVE


def test_a_slow_disk_stops_nobody(now_s: list[float], folder: Path) -> None:
    """A save in an idle moment goes on beside requests, and no second one begins meanwhile."""
    saved = SlowSizes(EngineConfig(folder), "CPU", {})
    warm_up, _ = make(Runner(now_s), saved)
    warm_up.start(CONFIG)
    run_all(warm_up)
    for _ in range(module.FIRST_SAVE):
        warm_up.note(3)
    warm_up.run_next()
    assert not saved.is_free.is_set(), "the save still waits for the disk"
    for _ in range(2 * module.FIRST_SAVE):
        warm_up.note(3)
    assert warm_up.next_s is None
    saved.is_free.set()
    warm_up.save()
    assert saved.find()[3].num_uses == 3 * module.FIRST_SAVE


def test_a_disk_that_hangs_does_not_keep_an_engine_from_ending(
    now_s: list[float], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_S", 0.01)
    saved = SlowSizes(EngineConfig(folder), "CPU", {})
    warm_up, _ = make(Runner(now_s), saved)
    warm_up.start(CONFIG)
    warm_up.note(3)
    warm_up.save()
    assert saved.find() == {}
    saved.is_free.set()


class SlowSizes(SavedSizes):
    """The disk takes nothing before `is_free` is set."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.is_free = threading.Event()

    def add(self, *arguments: Any) -> None:
        assert self.is_free.wait(timeout=60)
        super().add(*arguments)
