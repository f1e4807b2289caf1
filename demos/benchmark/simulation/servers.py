"""This server's scheduler and one that serves first come, first served, in simulated time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from workloads import Conversation

from server.engine.kv.kv_cache_manager import KVCacheManager
from server.engine.scheduling.latency_target import LatencyTarget
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.scheduling.scheduler import Scheduler
from server.engine.scheduling.step_costs import context_work
from server.engine.sequence import EngineRequest
from server.engine.sequence import Sequence as EngineSequence
from server.host.metrics import EngineStats
from server.payloads import SamplingParams
from simulation.machine import KnownCosts, Machine

BUDGET = 256
"""Tokens of a step, as OpenVINO Model Server has them."""

NUM_SEATS = 256
NUM_BLOCKS, BLOCK_SIZE = 8000, 32


@dataclass
class Answer:
    """A request and when its tokens came."""

    arrival_s: float
    is_background: bool
    token_s: list[float] = field(default_factory=list)

    @property
    def ttft_s(self) -> float:
        """Seconds to the first token."""
        return self.token_s[0] - self.arrival_s


class OurServer:
    """The scheduler of this server."""

    def __init__(self, machine: Machine, target_s: float | None) -> None:
        self.now_s = 0.0
        self._machine = machine
        self._kv = KVCacheManager(NUM_BLOCKS, BLOCK_SIZE, enable_prefix_caching=True)
        self._scheduler = Scheduler(
            self._kv,
            BUDGET,
            NUM_SEATS,
            True,
            220,
            EngineStats(),
            LatencyTarget(KnownCosts(machine), target_s),
            clock=lambda: self.now_s,
        )

    def add(self, number: int, conversation: Conversation) -> None:
        """Take a request."""
        turn = conversation.turns[0]
        request = EngineRequest(
            number,
            np.array(turn.token_ids, np.int64),
            SamplingParams(),
            turn.max_tokens,
            arrived_s=conversation.arrival_s,
        )
        self._scheduler.add(EngineSequence(request, arrival=number))

    @property
    def has_work(self) -> bool:
        """Whether a request is unfinished."""
        return self._scheduler.has_work

    def step(self) -> tuple[float, list[int]]:
        """Run a step; its seconds, and the numbers of the requests that got a token."""
        step = self._scheduler.schedule()
        seconds = self._machine.seconds(step.num_tokens, step.context)
        for sequence, num_new in zip(step.sequences, step.num_new_tokens, strict=True):
            sequence.num_computed_tokens += num_new
            self._kv.register_computed_blocks(sequence)
        self._scheduler.look_ahead(step)
        return seconds, self._sample(step)

    def _sample(self, step: ScheduledStep) -> list[int]:
        numbers = []
        for sequence in [s for s in step.sequences if s.num_uncomputed_tokens == 0]:
            sequence.append(0)
            numbers.append(sequence.request.request_id)
            if sequence.num_generated_tokens == sequence.request.max_tokens:
                self._scheduler.remove(sequence)
        return numbers


@dataclass
class _Prompt:
    number: int
    num_prompt: int
    max_tokens: int
    num_computed: int = 0
    num_generated: int = 0

    @property
    def num_left(self) -> int:
        return self.num_prompt + self.num_generated - self.num_computed


class FirstComeFirstServed:
    """Chunked prefill as openvino-genai has it, which is the engine of OpenVINO Model Server.

    Each step decodes what decodes and fills its budget with prompts in the order of their arrival.
    A prefix is found in the cache only if it was computed when the request came, which none of
    these workloads has.
    """

    def __init__(self, machine: Machine) -> None:
        self.now_s = 0.0
        self._machine = machine
        self._requests: list[_Prompt] = []

    def add(self, number: int, conversation: Conversation) -> None:
        """Take a request."""
        turn = conversation.turns[0]
        self._requests.append(_Prompt(number, len(turn.token_ids), turn.max_tokens))

    @property
    def has_work(self) -> bool:
        """Whether a request is unfinished."""
        return bool(self._requests)

    def step(self) -> tuple[float, list[int]]:
        """Run a step; its seconds, and the numbers of the requests that got a token."""
        room, num_tokens, context = BUDGET, 0, 0.0
        sampled = []
        decoding_first = sorted(self._requests, key=lambda request: request.num_left > 1)
        for request in decoding_first:
            num_new = min(room, request.num_left)
            context += context_work(request.num_computed, num_new) if num_new else 0.0
            request.num_computed += num_new
            room, num_tokens = room - num_new, num_tokens + num_new
            if num_new and request.num_left == 0:
                request.num_generated += 1
                sampled.append(request.number)
        self._requests = [r for r in self._requests if r.num_generated < r.max_tokens]
        return self._machine.seconds(num_tokens, context), sampled


def run(server: OurServer | FirstComeFirstServed, load: Sequence[Conversation]) -> list[Answer]:
    """Run the first turn of each conversation to its end."""
    answers = [Answer(c.arrival_s, c.is_background) for c in load]
    coming = sorted(range(len(load)), key=lambda number: load[number].arrival_s, reverse=True)
    while coming or server.has_work:
        if not server.has_work:
            server.now_s = max(server.now_s, load[coming[-1]].arrival_s)
        while coming and load[coming[-1]].arrival_s <= server.now_s:
            number = coming.pop()
            server.add(number, load[number])
        seconds, numbers = server.step()
        server.now_s += seconds
        for number in numbers:
            answers[number].token_s.append(server.now_s)
    return answers
