"""demos/benchmark/scheduling.py: every scenario runs, and the queue keeps its length."""

import pytest
import scheduling


@pytest.mark.parametrize("scenario", scheduling.SCENARIOS.values(), ids=scheduling.SCENARIOS)
def test_each_step_is_timed(scenario: dict[str, int]) -> None:
    times_ms = scheduling.measure(num_waiting=5, num_steps=3, num_first=2, **scenario)
    assert len(times_ms) == 3
    assert min(times_ms) > 0


def test_what_ends_is_replaced() -> None:
    server = scheduling.FakeServer(20, caching=True, num_prompts=2)
    for _ in range(400):
        server.step()
    assert server.num_ended > 0
    scheduler = server.scheduler
    assert scheduler.num_waiting + scheduler.num_running == scheduling.NUM_SEATS + 20
