"""What an observer of a run is told: the nodes, their phases, and how they end."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support import graph_fakes as fakes
from support.graph_fakes import IN, OUT, chain, load, run

from server.graph import (
    RUN_OBSERVER,
    Calculator,
    Contract,
    NodePhases,
    ProcessContext,
    QueueLimits,
    RequestQueue,
    Ticket,
    failure_of,
)


class Queued(Calculator):
    """Waits in a queue, then says what it does."""

    contract = Contract(inputs=(IN,), outputs=(OUT,))

    def admit(self, packets: object) -> Ticket:
        return RequestQueue(QueueLimits()).admit([packets])

    async def process(self, cc: ProcessContext) -> None:
        packet = await cc.receive(IN)
        cc.ticket.start()
        cc.begin_phase("answer")
        if packet == "fail":
            raise ValueError("no")
        await cc.send(OUT, packet)


class Observer:
    def __init__(self) -> None:
        self.nodes: dict[str, str] = {}
        self.phases: dict[str, list[str]] = {}
        self.failures: dict[str, BaseException | None] = {}

    @contextmanager
    def node(self, graph: str, node: str, calculator: str, phases: NodePhases) -> Iterator[None]:
        assert graph == "g"
        self.nodes[node] = calculator
        error: BaseException | None = None
        try:
            yield
        except BaseException as found:
            error = found
            raise
        finally:
            self.failures[calculator] = failure_of(error)
            times = [time for _, time in phases.marks]
            assert times == sorted(times)
            self.phases[calculator] = [name for name, _ in phases.marks]


@pytest.fixture
def observer() -> Iterator[Observer]:
    found = Observer()
    token = RUN_OBSERVER.set(found)
    yield found
    RUN_OBSERVER.reset(token)


async def test_nodes_and_phases(observer: Observer) -> None:
    graph = await load(chain(Queued, fakes.Upper))
    assert await run(graph, "a") == ["A"]
    assert sorted(observer.nodes.values()) == ["Queued", "Upper"]
    assert observer.phases == {"Queued": ["queue", "inference", "answer"], "Upper": []}
    assert observer.failures == {"Queued": None, "Upper": None}
    await graph.close()


async def test_a_failure(observer: Observer) -> None:
    graph = await load(chain(Queued, fakes.Upper))
    with pytest.raises(ValueError, match="no"):
        await run(graph, "fail")
    assert isinstance(observer.failures["Queued"], ValueError)
    await graph.close()


async def test_nobody_observes() -> None:
    graph = await load(chain(Queued))
    assert await run(graph, "a") == ["a"]
    await graph.close()
