"""The scheduler with all it needs except a model, and checks of every step."""

from collections.abc import Iterable
from typing import Any

from support.engine_helpers import check_blocks, make_sequence

from server.engine.kv.kv_cache_manager import KVCacheManager
from server.engine.scheduling.latency_target import LatencyTarget
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.scheduling.scheduler import Scheduler
from server.engine.scheduling.step_costs import StepCosts
from server.engine.sequence import Sequence, SequenceStatus
from server.host.metrics import EngineStats

SIZE = 4

NO_TARGET = LatencyTarget(StepCosts(), 0.0)


class FakeEngine:
    """Runs steps without a model; every new token is a function of the ones before it.

    Its clock is `now_s`; each step takes `step_s`.
    """

    def __init__(
        self,
        num_blocks: int = 64,
        budget: int = 16,
        max_num_seqs: int = 16,
        split_fuse: bool = True,
        caching: bool = False,
        max_num_prompt_rows: int = 1000,
        target: LatencyTarget | None = None,
        has_lookahead: bool = True,
        step_s: float = 0.0,
    ) -> None:
        self.now_s = 0.0
        self.step_s = step_s
        self.kv = KVCacheManager(num_blocks, SIZE, caching)
        self.stats = EngineStats()
        self.scheduler = Scheduler(
            self.kv,
            budget,
            max_num_seqs,
            split_fuse,
            max_num_prompt_rows,
            self.stats,
            target or NO_TARGET,
            clock=lambda: self.now_s,
        )
        self.budget = budget
        self.max_num_seqs = max_num_seqs
        self._has_lookahead = has_lookahead
        self.added: list[Sequence] = []
        self.live: list[Sequence] = []
        self.finished: list[Sequence] = []
        self.num_prepared = 0
        self._prepared: ScheduledStep | None = None

    def add(
        self,
        num_prompt_tokens: int,
        max_tokens: int = 4,
        n: int = 1,
        priority: int = 0,
        prompt_logprobs: int | None = None,
        client: str = "",
    ) -> Sequence:
        return self.add_prompt(
            range(num_prompt_tokens),
            max_tokens,
            n=n,
            priority=priority,
            prompt_logprobs=prompt_logprobs,
            client=client,
        )

    def add_prompt(self, tokens: Iterable[int], max_tokens: int = 1, **fields: Any) -> Sequence:
        sequence = make_sequence(tokens, max_tokens, **fields)
        sequence.request.arrived_s = self.now_s
        self.added.append(sequence)
        self.live.append(sequence)
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> ScheduledStep:
        step = self.scheduler.schedule()
        assert step.sequences, "work, but an empty step"
        assert len(set(map(id, step.sequences))) == len(step.sequences)
        assert min(step.num_new_tokens) > 0
        assert self.scheduler.num_running <= self.max_num_seqs
        if step is self._prepared:
            self._check_prepared(step)
        self.compute(step)
        return step

    def compute(self, step: ScheduledStep) -> None:
        check_blocks(self.kv, self.live)
        for sequence, num_new in zip(step.sequences, step.num_new_tokens, strict=True):
            self._compute(sequence, num_new)
        self._prepared = self.scheduler.look_ahead(step) if self._has_lookahead else None
        self.now_s += self.step_s
        for sequence in step.sequences:
            if sequence.num_uncomputed_tokens == 0:
                self._sample(sequence)

    def abort(self, sequence: Sequence) -> None:
        self.scheduler.remove(sequence)
        self.live.remove(sequence)

    def run(self, max_num_steps: int = 10_000) -> list[ScheduledStep]:
        steps = []
        while self.scheduler.has_work:
            steps.append(self.step())
            assert len(steps) < max_num_steps, "it does not end"
        assert self.kv.num_used_blocks == 0
        return steps

    def _check_prepared(self, step: ScheduledStep) -> None:
        """Everything that runs decodes."""
        self.num_prepared += 1
        assert len(step.sequences) == self.scheduler.num_running
        assert all(s.status is SequenceStatus.RUNNING for s in step.sequences)
        assert all(s.num_uncomputed_tokens == 1 for s in step.sequences)
        assert step.num_new_tokens == [1] * len(step.sequences)

    def _compute(self, sequence: Sequence, num_new: int) -> None:
        assert sequence.status is SequenceStatus.RUNNING
        sequence.num_computed_tokens += num_new
        assert sequence.num_computed_tokens <= sequence.num_tokens
        assert sequence.block_table.size == self.kv.num_blocks_for(sequence.num_computed_tokens)
        self.kv.register_computed_blocks(sequence)
        gathered = sequence.unread_prompt_logprobs
        if gathered is not None:
            num_known = min(sequence.num_computed_tokens, sequence.num_prompt_tokens - 1)
            gathered.num_done = max(gathered.num_done, num_known)

    def _sample(self, sequence: Sequence) -> None:
        family = [sequence]
        for index in range(1, sequence.num_pending_forks + 1):
            child = Sequence(sequence.request, index, sequence.arrival)
            self.scheduler.add_fork(sequence, child)
            family.append(child)
            self.live.append(child)
        sequence.num_pending_forks = 0
        for member in family:
            total = sum(member.token_ids.view().tolist()) + member.index
            member.token_ids.append(total % 2**40)
            if member.num_generated_tokens >= member.request.max_tokens:
                self.abort(member)
                self.finished.append(member)


def parts(step: ScheduledStep, of: Iterable[Sequence]) -> list[int]:
    """The new tokens of some sequences in a step, 0 for those not in it."""
    found = dict(zip(map(id, step.sequences), step.num_new_tokens, strict=True))
    return [found.get(id(sequence), 0) for sequence in of]
