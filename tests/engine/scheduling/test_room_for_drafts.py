"""Drafts in steps that other sequences need as well."""

from support.engine_helpers import make_sequence
from support.fake_engine import NO_TARGET

from server.engine.kv.kv_cache_manager import KVCacheManager
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import Sequence
from server.host.metrics import EngineStats

BUDGET = 64

WANTED = 31


def greedy_plan(decoding: list[Sequence]) -> dict[Sequence, int]:
    """More drafts than there is room for, where two sequences decode."""
    return {s: WANTED for s in decoding if s.num_generated_tokens}


def run(scheduler: Scheduler) -> ScheduledStep:
    """A step whose drafts are all right."""
    step = scheduler.schedule()
    for sequence, num_new in zip(step.sequences, step.num_new_tokens, strict=True):
        num_drafts = step.num_drafts.get(sequence, 0)
        sequence.num_computed_tokens += num_new - num_drafts
        if sequence.num_uncomputed_tokens == 0:
            sequence.append(7)
            for _ in range(num_drafts):
                scheduler.accept_draft(sequence)
                sequence.append(7)
    return step


def test_drafts_leave_room_for_prompts() -> None:
    kv = KVCacheManager(400, 4, False)
    scheduler = Scheduler(kv, BUDGET, 16, True, 1000, EngineStats(), NO_TARGET, greedy_plan)
    writers = [make_sequence(range(8), 10_000) for _ in range(2)]
    for writer in writers:
        scheduler.add(writer)
    run(scheduler)
    assert run(scheduler).num_tokens == BUDGET, "without prompts, drafts may have all of it"
    reader = make_sequence(range(70), 10_000)
    scheduler.add(reader)
    steps = [run(scheduler) for _ in range(3)]
    assert [step.num_of(reader) for step in steps] == [BUDGET // 2, BUDGET // 2, 70 - BUDGET]
    assert all(step.num_drafts for step in steps), "some of the drafts have room"
