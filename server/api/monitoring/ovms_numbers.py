"""What Model Server counts of requests: runs of graphs by API, interface and method."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

from server.host.metrics import Histogram
from server.host.metrics.inferences import OVMS_BOUNDS_US
from server.host.metrics.ovms_metrics import DEFAULT_METRICS

__all__ = ["OVMS", "OvmsNumbers", "RunKey", "RunNumbers"]

ALWAYS_ON = frozenset({"ovms_graph_loaded"})


class RunKey(NamedTuple):
    """Who asked for what: KServe, TensorFlowServing or V3; REST or gRPC; ModelInfer, Unary, ..."""

    name: str
    api: str
    interface: str
    method: str


@dataclass(eq=False, slots=True)
class RunNumbers:
    """Runs of one kind; `times_us` are those of the runs that have ended."""

    num_accepted: int = 0
    num_rejected: int = 0
    num_responses: int = 0
    num_errors: int = 0
    times_us: Histogram = field(default_factory=lambda: Histogram(OVMS_BOUNDS_US))


class OvmsNumbers:
    """`names` are the metrics to show. Nothing is counted until others than ALWAYS_ON are asked."""

    def __init__(self) -> None:
        self.names = ALWAYS_ON
        self.runs: dict[RunKey, RunNumbers] = {}

    @property
    def is_on(self) -> bool:
        """Whether runs are counted."""
        return self.names != ALWAYS_ON

    def enable(self, names: Iterable[str] = ()) -> None:
        """Show these metrics, or else the default ones."""
        self.names = frozenset(names) or frozenset(DEFAULT_METRICS)

    def count(
        self, run: AbstractAsyncContextManager[AsyncIterator[Any]], key: RunKey
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """The run itself, which is counted if anything is."""
        if not self.is_on:
            return run
        return _CountedRun(run, self.runs.setdefault(key, RunNumbers()))

    def forget_all_but(self, names: Iterable[str]) -> Mapping[RunKey, RunNumbers]:
        """The numbers of these models; those of others are forgotten."""
        kept = set(names)
        for key in tuple(self.runs):
            if key.name not in kept:
                self.runs.pop(key, None)
        return dict(self.runs)


class _CountedRun(AbstractAsyncContextManager[AsyncIterator[Any]], AsyncIterator[Any]):
    def __init__(
        self, run: AbstractAsyncContextManager[AsyncIterator[Any]], numbers: RunNumbers
    ) -> None:
        self._run = run
        self._numbers = numbers
        self._packets: AsyncIterator[Any] | None = None
        self._started_s = 0.0

    async def __aenter__(self) -> AsyncIterator[Any]:
        self._started_s = perf_counter()
        try:
            self._packets = await self._run.__aenter__()
        except BaseException:
            self._numbers.num_rejected += 1
            raise
        self._numbers.num_accepted += 1
        return self

    async def __anext__(self) -> Any:
        assert self._packets is not None, "the run was entered"
        try:
            packet = await self._packets.__anext__()
        except StopAsyncIteration:
            raise
        except Exception:
            self._numbers.num_errors += 1
            raise
        self._numbers.num_responses += 1
        return packet

    async def __aexit__(self, *error: Any) -> bool | None:
        try:
            return await self._run.__aexit__(*error)
        finally:
            self._numbers.times_us.observe((perf_counter() - self._started_s) * 1e6)


OVMS = OvmsNumbers()
