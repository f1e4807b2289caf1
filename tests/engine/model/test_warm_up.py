from pathlib import Path

import pytest

from server.engine.config import EngineConfig
from server.engine.model import warm_up as module
from server.engine.model.step_sizes import StepSizes
from server.engine.model.warm_up import warm_up
from server.engine.scheduling.step_costs import StepCosts
from server.errors import ModelLoadError

CONFIG = EngineConfig(Path("model"))


class Runner:
    """In place of a model runner: remembers the sizes that it was asked to run."""

    def __init__(self, now_s: list[float], seconds_each: float = 0.001) -> None:
        self.token_sizes = StepSizes(1000)
        self.sizes: list[int] = []
        self.now_s = now_s
        self.seconds_each = seconds_each

    def warm_up(self, size: int) -> float:
        self.sizes.append(size)
        self.now_s[0] += self.seconds_each
        return self.seconds_each


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of a fake clock, which only runners advance."""
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "MAX_TOKENS", 512)
    return now


def test_every_size_runs_and_powers_of_two_are_timed(now_s: list[float]) -> None:
    runner = Runner(now_s)
    costs = StepCosts(runner.token_sizes.padded)
    warm_up(runner, costs, CONFIG)  # type: ignore[arg-type]
    assert set(runner.sizes) == {size for size in runner.token_sizes.sizes if size <= 512}
    twice = sorted(size for size in set(runner.sizes) if runner.sizes.count(size) == 2)
    assert twice == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


def test_warm_up_of_a_slow_model_stops_early(now_s: list[float]) -> None:
    runner = Runner(now_s, seconds_each=module.TIME_S / 4)
    warm_up(runner, StepCosts(runner.token_sizes.padded), CONFIG)  # type: ignore[arg-type]
    assert 4 <= len(runner.sizes) <= 6


def test_a_model_that_cannot_run_is_not_loaded(now_s: list[float]) -> None:
    class Broken(Runner):
        def warm_up(self, size: int) -> float:
            raise RuntimeError("Check 'x' failed")

    runner = Broken(now_s)
    with pytest.raises(ModelLoadError, match="model: OpenVINO cannot run it: Check 'x' failed"):
        warm_up(runner, StepCosts(runner.token_sizes.padded), CONFIG)  # type: ignore[arg-type]


def test_progress_is_reported(now_s: list[float]) -> None:
    told: list[tuple[str, float]] = []
    config = EngineConfig(Path("model"), on_progress=lambda *news: told.append(news))
    runner = Runner(now_s)
    warm_up(runner, StepCosts(runner.token_sizes.padded), config)  # type: ignore[arg-type]
    fractions = [fraction for _, fraction in told]
    assert len(told) == len(set(runner.sizes))
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1] < 1.0) == (module.FIRST_PROGRESS, True)
