"""Each client has a fair share of the model, whatever the others ask for."""

import random
from time import process_time

import pytest
from support.engine_helpers import make_sequence
from support.fake_engine import FakeEngine, parts

from server.engine.scheduling.client_lines import MAX_CREDIT, MAX_REMEMBERED, ClientLines
from server.engine.scheduling.patience import MAX_WAIT_S, Patience
from server.engine.scheduling.step_costs import StepCosts
from server.engine.scheduling.waiter import Waiter
from server.engine.scheduling.waiting_queue import turn_of
from server.engine.sequence import Sequence


def starts_until(engine: FakeEngine, sequence: Sequence, limit: int = 1000) -> int:
    """How many others start from now on before a sequence has its first token."""
    before = {other for other in engine.added if other.has_started}
    for _ in range(limit):
        engine.step()
        if sequence.num_generated_tokens:
            return sum(other.has_started for other in engine.added if other not in before) - 1
    pytest.fail(f"no token after {limit} steps")


def test_a_thousand_requests_do_not_delay_the_one_of_another_client() -> None:
    engine = FakeEngine(num_blocks=400, max_num_seqs=8)
    for _ in range(1000):
        engine.add(8, max_tokens=3, client="noisy")
    for _ in range(30):
        engine.step()
    quiet = engine.add(8, max_tokens=3, client="quiet")
    assert starts_until(engine, quiet) <= 8, "at most a step's worth of others"


def test_a_client_that_asks_one_thing_at_a_time_never_waits_for_the_queue() -> None:
    engine = FakeEngine(num_blocks=400, max_num_seqs=8)
    for _ in range(1000):
        engine.add(8, max_tokens=3, client="noisy")
    for _ in range(128):
        engine.step()
        quiet = engine.add(8, max_tokens=3, client="quiet")
        assert starts_until(engine, quiet) <= 8


def test_a_client_without_any_takes_a_seat_of_one_with_all_of_them() -> None:
    engine = FakeEngine(num_blocks=2000, max_num_seqs=8)
    noisy = [engine.add(8, max_tokens=300, client="noisy") for _ in range(20)]
    for _ in range(40):
        engine.step()
    assert engine.scheduler.num_running == 8
    quiet = [engine.add(8, max_tokens=5, client=name) for name in ("quiet", "calm")]
    for sequence in quiet:
        starts_until(engine, sequence, limit=4)
    assert engine.stats.preemptions == 2
    engine.run()
    assert all(sequence.num_generated_tokens == 300 for sequence in noisy)


def test_a_client_has_no_more_than_one_seat_by_preemption() -> None:
    engine = FakeEngine(num_blocks=2000, max_num_seqs=4)
    for _ in range(4):
        engine.add(8, max_tokens=200, client="noisy")
    for _ in range(10):
        engine.step()
    for _ in range(10):
        engine.add(8, max_tokens=200, client="other")
    for _ in range(50):
        engine.step()
    assert engine.stats.preemptions == 1


def test_clients_with_equal_queues_are_served_in_equal_measure() -> None:
    engine = FakeEngine(num_blocks=400, max_num_seqs=8)
    for client, num_tokens in (("short", 4), ("long", 40)):
        for _ in range(800):
            engine.add(num_tokens, max_tokens=4, client=client)
    for _ in range(300):
        engine.step()
    served = dict.fromkeys(("short", "long"), 0)
    for sequence in engine.added:
        served[sequence.request.client] += sequence.num_charged_tokens
    assert served["short"] == pytest.approx(served["long"], abs=200)
    assert sum(served.values()) > 300 * 15, "no step has room to spare"


def test_the_prompt_of_another_client_is_read_beside_a_long_one() -> None:
    engine = FakeEngine(num_blocks=2000)
    for _ in range(3):
        engine.add(2000, max_tokens=1, client="noisy")
    engine.step()
    quiet = engine.add(60, max_tokens=1, client="quiet")
    assert starts_until(engine, quiet, limit=6) <= 1


def test_overdue_requests_of_one_client_do_not_go_before_those_of_another() -> None:
    engine = FakeEngine(num_blocks=2000, max_num_seqs=2, step_s=1.0)
    for _ in range(50):
        engine.add(60, max_tokens=20, client="noisy")
    while not any(s.request.is_overdue for s in engine.live):
        engine.step()
    quiet = engine.add(8, max_tokens=1, client="quiet")
    assert starts_until(engine, quiet) <= 2


def test_a_better_priority_goes_before_the_share_but_does_not_starve_others() -> None:
    engine = FakeEngine(num_blocks=400, max_num_seqs=1, step_s=0.5)
    engine.add(8, max_tokens=2, client="busy")
    engine.step()
    late = engine.add(8, max_tokens=1, priority=5, client="patient")
    while not late.num_generated_tokens:
        engine.add(2, max_tokens=1, priority=0, client="busy")
        engine.step()
        assert engine.now_s < MAX_WAIT_S + 5
    assert engine.now_s >= MAX_WAIT_S


def test_a_client_that_was_away_has_a_bounded_credit() -> None:
    engine = FakeEngine(num_blocks=4000, max_num_seqs=4, budget=64)
    for _ in range(400):
        engine.add(32, max_tokens=1, client="steady")
    while sum(s.num_charged_tokens for s in engine.added) < 6000:
        engine.step()
    for _ in range(300):
        engine.add(32, max_tokens=1, client="back")
    started = {s for s in engine.added if s.has_started}
    for _ in range(150):
        engine.step()
    new = [s for s in engine.added if s.has_started and s not in started]
    tokens = dict.fromkeys(("steady", "back"), 0)
    for sequence in new:
        tokens[sequence.request.client] += sequence.num_charged_tokens
    assert tokens["back"] - tokens["steady"] == pytest.approx(MAX_CREDIT, abs=300)


@pytest.mark.parametrize("seed", range(3))
def test_names_of_clients_change_nothing_while_there_is_one(seed: int) -> None:
    def run(client: str) -> list[list[int]]:
        rng = random.Random(seed)
        engine, found = FakeEngine(caching=True, num_blocks=100), []
        for _ in range(200):
            for _ in range(rng.randrange(3)):
                engine.add(rng.randrange(1, 40), rng.randrange(1, 6), client=client)
            if engine.scheduler.has_work:
                found.append(parts(engine.step(), engine.added))
        return found

    assert run("") == run("somebody")


@pytest.mark.parametrize("seed", range(3))
def test_everything_ends_with_many_clients(seed: int) -> None:
    rng = random.Random(seed)
    engine = FakeEngine(num_blocks=60, caching=True)
    for _ in range(300):
        engine.add(
            rng.randrange(1, 60),
            rng.randrange(1, 6),
            n=rng.randrange(1, 3),
            priority=rng.randrange(3),
            client=str(rng.randrange(20)),
        )
        if rng.random() < 0.5:
            engine.step()
        if rng.random() < 0.1 and engine.live:
            engine.abort(rng.choice(engine.live))
    engine.run()
    assert engine.scheduler.num_waiting == 0


def test_no_operation_visits_all_clients() -> None:
    lines, waiters, patience = ClientLines(), [], Patience(StepCosts(), 256)
    for number in range(MAX_REMEMBERED * 2):
        sequence = make_sequence([1], client=str(number))
        waiters.append(Waiter(sequence, turn=turn_of(sequence, 1, patience)))
    started = process_time()
    for waiter in waiters:
        lines.put(waiter)
        lines.settle([])
    while (first := lines.first()) is not None:
        lines.take(first)
        lines.note_start(first.sequence, 1)
    assert process_time() - started < 2, "8,192 clients come and go"
