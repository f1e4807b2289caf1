"""RequestQueue: what may wait, when to try again, and that every count falls back."""

import random
import threading

import pytest

from server.errors import QueueFullError
from server.graph import QueueDefaults, QueueLimits, RequestQueue
from server.graph.queues.start_rate import StartRate
from server.payloads import EmbeddingRequest, GenerationRequest, ImageRequest, RerankRequest


def test_a_full_queue_refuses_at_once() -> None:
    queue = RequestQueue(QueueLimits(max_num_queued_requests=2))
    tickets = [queue.admit(["a"]), queue.admit(["b"])]
    with pytest.raises(QueueFullError, match="2 requests wait, and with 1 more") as refused:
        queue.admit(["c"])
    assert refused.value.reason == "max_num_queued_requests"
    assert "--max_num_queued_requests raises it" in str(refused.value)
    tickets[0].start()
    tickets.append(queue.admit(["c"]))
    assert queue.num_requests == 2
    for ticket in tickets * 2:
        ticket.close()
    assert queue.num_requests == 0


def test_what_is_larger_than_the_queue_is_taken_when_nothing_else_waits() -> None:
    queue = RequestQueue(QueueLimits(2, 10))
    ticket = queue.admit([EmbeddingRequest(("a",) * 2048)])
    ticket.add_tokens(20)
    ticket.add_tokens(20)
    assert queue.status()["num_queued_requests"] == 2048
    with pytest.raises(QueueFullError):
        queue.admit(["b"])
    ticket.close()
    assert (queue.num_requests, queue.num_tokens) == (0, 0)


def test_requests_that_come_together_are_taken_together() -> None:
    queue = RequestQueue(QueueLimits(max_num_queued_requests=4))
    queue.admit(["a"])
    with pytest.raises(QueueFullError):
        queue.admit(["b"] * 4)
    assert queue.num_requests == 1
    queue.admit(["b"] * 3)


def test_tokens_are_bounded_after_they_are_known() -> None:
    queue = RequestQueue(QueueLimits(max_num_queued_tokens=100))
    first, second = queue.admit(["a"]), queue.admit(["b"])
    first.add_tokens(60)
    with pytest.raises(QueueFullError, match="60 tokens wait, and with 60 more"):
        second.add_tokens(60)
    second.close()
    first.start(1, 60)
    queue.admit(["c"]).add_tokens(60)
    assert queue.num_tokens == 60


def test_before_tokenising_a_queue_full_of_tokens_refuses() -> None:
    queue = RequestQueue(QueueLimits(max_num_queued_tokens=100))
    queue.admit(["a"]).add_tokens(100)
    with pytest.raises(QueueFullError, match="max_num_queued_tokens"):
        queue.admit(["b"])


@pytest.mark.parametrize(
    ("packet", "count"),
    [
        (GenerationRequest("a", prompt="x"), 1),
        (GenerationRequest("a", prompt="x", sampling={"n": 3}), 3),
        (GenerationRequest("a", prompt="x", sampling={"n": 2}, best_of=5), 5),
        (GenerationRequest("a", prompt="x", sampling={"num_beams": 4}), 4),
        (EmbeddingRequest(("a", "b")), 2),
        (RerankRequest(pairs=(("q", "a"),) * 3), 3),
        (ImageRequest("a", num_images_per_prompt=2), 2),
        ("a packet of somebody else", 1),
    ],
)
def test_what_a_request_counts_for(packet: object, count: int) -> None:
    queue = RequestQueue(QueueLimits())
    queue.admit([packet])
    assert queue.num_requests == count


def test_the_time_to_try_again_follows_the_rate() -> None:
    rate = StartRate()
    for second in range(20):
        rate.add(10, float(second))
    assert rate.per_second(19.0) == pytest.approx(10, rel=0.05)
    stalled = rate.per_second(19.0 + 60)
    assert stalled is not None
    assert stalled < 0.6, "nothing has started for a minute"


def test_the_time_without_a_queue_does_not_count() -> None:
    rate = StartRate()
    for second in range(5):
        rate.add(10, float(second))
    rate.pause()
    rate.add(10, 1000.0)
    rate.add(10, 1001.0)
    assert rate.per_second(1001.0) == pytest.approx(10, rel=0.05)


def test_the_time_to_try_again_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    queue = RequestQueue(QueueLimits(max_num_queued_requests=100))
    ticket = queue.admit(["a"] * 100)

    def retry_after() -> int:
        with pytest.raises(QueueFullError) as refused:
            queue.admit(["b"] * 100)
        return refused.value.retry_after_s

    assert retry_after() == 5, "nothing is known yet"
    for _ in range(40):
        now[0] += 1
        ticket.start()
    assert retry_after() == pytest.approx(30, abs=2), "60 wait, and one starts each second"
    now[0] += 600
    assert retry_after() == 60
    ticket.start(59)
    now[0] += 1
    assert 1 <= retry_after() <= 60


def test_what_goes_first_among_limits() -> None:
    own = QueueLimits(10, 20)
    assert QueueDefaults().queue(own, None, None).limits == QueueLimits(0, 0)
    assert QueueDefaults().queue(own, 3, None).limits == QueueLimits(3, 0)
    assert QueueDefaults(True).queue(own, None, None).limits == own
    assert QueueDefaults(True, 5, 0).queue(own, None, None).limits == QueueLimits(5, 0)
    assert QueueDefaults(True, 5).queue(own, 7, 8).limits == QueueLimits(7, 8)


def test_the_counts_fall_back_whatever_threads_do() -> None:
    queue = RequestQueue(QueueLimits(50, 5000))

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(300):
            try:
                ticket = queue.admit(["a"] * rng.randrange(1, 5))
            except QueueFullError:
                continue
            try:
                ticket.add_tokens(rng.randrange(200))
                ticket.start(rng.randrange(6), rng.randrange(300))
            except QueueFullError:
                pass
            finally:
                ticket.close()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (queue.num_requests, queue.num_tokens) == (0, 0)
