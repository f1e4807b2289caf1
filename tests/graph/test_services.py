import threading
from dataclasses import dataclass
from pathlib import Path

from support import graph_fakes as fakes

from server.graph import Graph, OpenContext, Services
from server.graph.testing import CalculatorRunner


@dataclass(frozen=True)
class Limits:
    """Something that a server knows and the framework does not."""

    most: int = 3


class Asks(fakes.Upper):
    def open(self, cc: OpenContext) -> None:
        self.found = (cc.service(Limits).most, cc.cache_dir)
        cc.progress("half the work", 0.5)


def ask(services: Services | None) -> tuple[int, Path | None]:
    runner = CalculatorRunner(Asks, services=services)
    runner.open()
    assert isinstance(runner.calculator, Asks)
    return runner.calculator.found


def test_a_calculator_gets_what_the_server_has_or_the_defaults(tmp_path: Path) -> None:
    assert ask(Services(cache_dir=tmp_path, extras=("other", Limits(5)))) == (5, tmp_path)
    assert ask(Services()) == ask(None) == (3, None)


async def test_progress_comes_from_the_thread_that_opens_the_node() -> None:
    seen: list[tuple[str, float, bool]] = []

    def on_progress(text: str, fraction: float) -> None:
        seen.append((text, fraction, threading.current_thread() is threading.main_thread()))

    services = Services(on_progress=on_progress)
    graph = await Graph.load(fakes.chain(Asks), Path(), "g", services)
    await graph.close()
    assert seen == [("half the work", 0.5, False)]
