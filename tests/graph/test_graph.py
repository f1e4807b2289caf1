import asyncio
import sys
import threading
import time
from asyncio import CancelledError
from pathlib import Path
from typing import ClassVar

import pytest
from support import graph_fakes as fakes
from support.graph_fakes import IN, MODEL, OUT, chain, load, node, run

from server.errors import (
    CalculatorOpenError,
    GraphValidationError,
    ModelLoadError,
    ModelNotReadyError,
)
from server.graph import (
    Calculator,
    Contract,
    Graph,
    GraphConfig,
    NodeConfig,
    OpenContext,
    ProcessContext,
    Tag,
)


class Recorder(fakes.Upper):
    """Records its `open` and `close`."""

    events: ClassVar[list[str]] = []

    def open(self, cc: OpenContext) -> None:
        self.name = cc.node_name
        assert threading.current_thread() is not threading.main_thread()
        self.events.append(f"open {self.name}")

    def close(self) -> None:
        self.events.append(f"close {self.name}")


class Fails(Recorder):
    """Fails in the middle of `open`."""

    def open(self, cc: OpenContext) -> None:
        super().open(cc)
        raise OSError("no weights")


# Exceptions that end asyncio's loop, or that a future cannot hold.
FATAL_ERRORS = [SystemExit, KeyboardInterrupt, CancelledError, StopIteration, GeneratorExit]


def single(maker: type[Calculator]) -> GraphConfig:
    nodes = (node(maker, "a", "b", output_side_packets=("MODEL:model",)),)
    return GraphConfig(nodes, ("IN:a",), ("OUT:b",))


@pytest.fixture(autouse=True)
def no_events() -> None:
    Recorder.events.clear()
    fakes.Counter.left.clear()


async def test_nodes_open_in_the_order_of_their_streams_and_close_in_reverse() -> None:
    config = chain(Recorder, Recorder, Recorder)
    config = GraphConfig(tuple(reversed(config.nodes)), config.input_streams, config.output_streams)
    graph = await load(config)
    assert Recorder.events == ["open Recorder_3", "open Recorder_2", "open Recorder"]
    await graph.close()
    assert Recorder.events[3:] == ["close Recorder", "close Recorder_2", "close Recorder_3"]


async def test_side_packets_come_before_those_who_need_them() -> None:
    taker = node(fakes.Taker, "a", "b", input_side_packets=("MODEL:model",))
    maker = node(fakes.Maker, "b", "c", name="m", output_side_packets=("MODEL:model",))
    graph = await load(GraphConfig((taker, maker), ("IN:a",), ("OUT:c",)))
    assert await run(graph, "x") == ["x by model of m = model of m"]


async def test_a_failing_open_names_its_node_and_closes_it_and_those_before_it() -> None:
    config = chain(Recorder, Recorder, Fails, Recorder)
    with pytest.raises(CalculatorOpenError) as caught:
        await load(config)
    assert str(caught.value) == "graph 'g', node 'Fails' (Fails): OSError: no weights"
    assert isinstance(caught.value.__cause__, OSError)
    assert Recorder.events[3:] == ["close Fails", "close Recorder_2", "close Recorder"]


@pytest.mark.parametrize("error", [AttributeError, SystemExit])
async def test_a_close_that_fails_after_a_failed_open_does_not_hide_why(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    class Breaks(Fails):
        def close(self) -> None:
            raise error("no engine")

    with pytest.raises(CalculatorOpenError, match="OSError: no weights"):
        await load(chain(Recorder, Breaks))
    assert Recorder.events[-1] == "close Recorder"
    assert "'Breaks' (Breaks): close after the failed open failed as well" in caplog.text


async def test_a_subgraph_whose_inner_node_fails_to_open_is_closed() -> None:
    options = fakes.TwiceOptions(f"{__name__}:Fails")
    twice = NodeConfig(fakes.Twice, "t", ("IN:b",), ("OUT:c",), options=options)
    config = GraphConfig((node(Recorder, "a", "b"), twice), ("IN:a",), ("OUT:c",))
    with pytest.raises(CalculatorOpenError, match="node 't__last'"):
        await load(config)
    assert Recorder.events[1:] == ["open t__last", "close t__last", "close Recorder"]


async def test_a_serving_error_of_open_keeps_its_class_and_gets_the_node() -> None:
    class Missing(fakes.Upper):
        def open(self, cc: OpenContext) -> None:
            raise ModelLoadError("no openvino_model.xml") from OSError("cause")

    with pytest.raises(ModelLoadError) as caught:
        await load(chain(Missing))
    assert str(caught.value) == "graph 'g', node 'Missing' (Missing): no openvino_model.xml"
    assert isinstance(caught.value.__cause__, OSError)


async def test_side_packets_are_found_by_their_type() -> None:
    count = Tag("COUNT", int, optional=True)

    class Counter(fakes.Upper):
        contract = Contract(inputs=(IN,), outputs=(OUT,), output_side_packets=(count,))

        def open(self, cc: OpenContext) -> None:
            cc.set_side_packet(count, 7)

    maker = node(fakes.Maker, "a", "b", name="m", output_side_packets=("MODEL:model",))
    graph = await load(GraphConfig((maker, node(Counter, "b", "c")), ("IN:a",), ("OUT:c",)))
    assert graph.find_side_packet(str) == "model of m"
    # Nobody takes this one.
    assert graph.find_side_packet(int) == 7
    assert graph.find_side_packet(float) is None


async def test_a_side_packet_that_open_does_not_set_is_an_error() -> None:
    class Forgets(Recorder):
        contract = Contract(inputs=(IN,), outputs=(OUT,), output_side_packets=(MODEL,))

    with pytest.raises(CalculatorOpenError, match="open did not set side packet 'MODEL'"):
        await load(single(Forgets))
    assert Recorder.events == ["open Forgets", "close Forgets"]


async def test_a_side_packet_of_the_wrong_type_is_an_error() -> None:
    class Wrong(fakes.Maker):
        def open(self, cc: OpenContext) -> None:
            cc.set_side_packet(MODEL, 3)  # type: ignore[arg-type]  # the mistake under test

    with pytest.raises(CalculatorOpenError, match="side packet 'MODEL' to a int, but declares str"):
        await load(single(Wrong))


async def test_a_close_that_fails_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Breaks(fakes.Upper):
        def close(self) -> None:
            raise ValueError("stuck")

    graph = await load(chain(Recorder, Breaks))
    await graph.close()
    assert Recorder.events[-1] == "close Recorder"
    assert "closing node 'Breaks' failed" in caplog.text


@pytest.mark.parametrize("times", [1, 2])
async def test_a_load_that_is_cancelled_closes_what_it_opened(times: int) -> None:
    is_opening = threading.Event()
    may_end = threading.Event()

    class Slow(Recorder):
        def open(self, cc: OpenContext) -> None:
            super().open(cc)
            is_opening.set()
            may_end.wait()

    loading = asyncio.create_task(load(chain(Recorder, Slow)))
    await asyncio.to_thread(is_opening.wait)
    for _ in range(times):
        loading.cancel()
        await asyncio.sleep(0.01)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert Recorder.events[2:] == ["close Slow", "close Recorder"]


async def test_a_load_that_times_out_closes_what_it_opened() -> None:
    is_closed = threading.Event()
    loop = asyncio.get_running_loop()

    class SlowToClose(Recorder):
        def open(self, cc: OpenContext) -> None:
            super().open(cc)
            loop.call_soon_threadsafe(limit.reschedule, 0)
            time.sleep(0.05)

        def close(self) -> None:
            time.sleep(0.05)
            super().close()
            is_closed.set()

    limit = asyncio.timeout(None)
    with pytest.raises(TimeoutError):
        async with limit:
            await load(chain(Recorder, SlowToClose, Recorder))
    assert is_closed.is_set()
    assert Recorder.events[2:] == ["close SlowToClose", "close Recorder"]


async def test_a_close_that_is_cancelled_still_closes_the_nodes() -> None:
    class Lingers(Recorder):
        async def process(self, cc: ProcessContext) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.05)

    graph = await load(chain(Lingers))
    async with graph.start_run("n"):
        closing = asyncio.create_task(graph.close())
        await asyncio.sleep(0.01)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
    assert Recorder.events == ["open Lingers", "close Lingers"]


async def test_borders_have_the_types_of_the_nodes_behind_them() -> None:
    graph = await load(chain(fakes.Anything, fakes.Words, fakes.Lengths, fakes.Anything))
    assert graph.input == Tag("IN", str)
    assert graph.output == Tag("OUT", int)
    assert await run(graph, "a bc") == [1, 2]


async def test_paths_are_relative_to_the_graph(tmp_path: Path) -> None:
    class Paths(fakes.Upper):
        paths: ClassVar[list[Path]] = []

        def open(self, cc: OpenContext) -> None:
            self.paths[:] = [cc.base_path, cc.resolve("./x"), cc.resolve("/abs")]

    await Graph.load(chain(Paths), tmp_path, "g")
    assert Paths.paths == [tmp_path, tmp_path / "x", Path("/abs")]


async def test_health_names_the_node() -> None:
    class Sick(fakes.Upper):
        def health(self) -> str | None:
            return "the engine failed"

    assert (await load(chain(fakes.Words))).health() is None
    assert (await load(chain(fakes.Words, Sick))).health() == "node 'Sick': the engine failed"


async def test_a_health_that_fails_is_a_reason_too() -> None:
    class Breaks(fakes.Upper):
        def health(self) -> str | None:
            sys.exit(3)

    graph = await load(chain(Breaks))
    assert graph.health() == "node 'Breaks': health() failed: RuntimeError: it raised SystemExit: 3"


@pytest.mark.parametrize("error", FATAL_ERRORS)
async def test_a_fatal_error_of_open_is_one_of_its_graph(error: type[BaseException]) -> None:
    class Breaks(fakes.Upper):
        def open(self, cc: OpenContext) -> None:
            raise error("x")

    with pytest.raises(CalculatorOpenError, match=rf"'Breaks' .* it raised {error.__name__}: x"):
        await load(chain(Recorder, Breaks))
    assert Recorder.events == ["open Recorder", "close Recorder"]


@pytest.mark.parametrize("error", FATAL_ERRORS)
async def test_a_fatal_error_of_an_import_is_one_of_its_graph(
    error: type[BaseException], tmp_path: Path
) -> None:
    (tmp_path / "c.py").write_text(
        f"from asyncio import CancelledError\nraise {error.__name__}('x')"
    )
    nodes = (NodeConfig("./c.py:C", input_streams=("IN:a",), output_streams=("OUT:b",)),)
    with pytest.raises((GraphValidationError, RuntimeError), match=f"{error.__name__}: x"):
        await Graph.load(GraphConfig(nodes, ("IN:a",), ("OUT:b",)), tmp_path, "g")


@pytest.mark.parametrize("error", FATAL_ERRORS)
async def test_a_fatal_error_of_close_does_not_stop_the_others(error: type[BaseException]) -> None:
    class Breaks(fakes.Upper):
        def close(self) -> None:
            raise error("x")

    graph = await load(chain(Recorder, Breaks))
    await graph.close()
    assert Recorder.events[-1] == "close Recorder"


async def test_close_refuses_new_runs_and_stops_the_running_ones() -> None:
    graph = await load(chain(fakes.Counter))
    not_entered = graph.start_run("n")
    async with graph.start_run("n") as running:
        assert await anext(running) == "n0"
        await graph.close()
        assert fakes.Counter.left == ["n"]
        with pytest.raises(ModelNotReadyError, match="model 'g' is shutting down"):
            await anext(running)
    with pytest.raises(ModelNotReadyError):
        graph.start_run("n")
    with pytest.raises(ModelNotReadyError):
        await not_entered.__aenter__()
    await graph.close()


async def test_close_waits_for_running_ones_for_a_while() -> None:
    graph = await load(chain(fakes.Words))
    async with graph.start_run("a b c") as running:
        closing = asyncio.create_task(graph.close(drain_s=60))
        await asyncio.sleep(0.01)
        assert [packet async for packet in running] == ["a", "b", "c"]
    await closing


async def test_close_stops_those_that_take_too_long(caplog: pytest.LogCaptureFixture) -> None:
    graph = await load(chain(fakes.Counter))
    async with graph.start_run("n") as running:
        await anext(running)
        await graph.close(drain_s=0.01)
        assert fakes.Counter.left == ["n"]
    assert "stopping 1 runs" in caplog.text


async def test_a_finished_run_can_be_read_to_its_end_while_the_graph_closes() -> None:
    graph = await load(chain(fakes.Words))
    async with graph.start_run("a b") as running:
        assert await anext(running) == "a"
        await asyncio.sleep(0.01)
        await graph.close()
        assert [packet async for packet in running] == ["b"]


async def test_optional_side_packets_that_nobody_makes() -> None:
    optional = Tag("MODEL", str, optional=True)

    class Either(fakes.Upper):
        contract = Contract(inputs=(IN,), outputs=(OUT,), input_side_packets=(optional,))
        found: ClassVar[list[bool]] = []

        def open(self, cc: OpenContext) -> None:
            self.found.append(cc.has_side_packet(optional))

    await load(chain(Either))
    with_name = node(Either, "a", "b", input_side_packets=("MODEL:nobody",))
    await load(GraphConfig((with_name,), ("IN:a",), ("OUT:b",)))
    assert Either.found == [False, False]


async def test_a_subgraph_runs_in_place_of_its_node() -> None:
    config = GraphConfig(
        nodes=(NodeConfig(fakes.Twice, "t", ("IN:a",), ("OUT:b",)),),
        input_streams=("IN:a",),
        output_streams=("OUT:b",),
    )
    assert await run(await load(config), "a b") == ["A", "B"]


async def test_calculator_base_class_says_what_is_missing() -> None:
    class Empty(Calculator):
        contract = Contract(inputs=(IN,), outputs=(OUT,))

    graph = await load(chain(Empty))
    with pytest.raises(NotImplementedError, match="Empty has no process"):
        await run(graph, "x")
