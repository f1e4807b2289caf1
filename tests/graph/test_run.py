import asyncio
import gc
import logging
from pathlib import Path
from typing import ClassVar

import pytest
from support import graph_fakes as fakes
from support.graph_fakes import IN, OUT, chain, load, node, run

from server.errors import InvalidRequestError
from server.graph import Calculator, Contract, Graph, GraphConfig, NodeConfig, ProcessContext, Tag
from server.graph import run as run_module


@pytest.fixture(autouse=True)
def no_leftovers() -> None:
    for cls in (fakes.Counter, fakes.Waiter):
        cls.left.clear()
    fakes.Counter.started.clear()


def pending_nodes() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("g/")]


async def test_packets_go_through_the_nodes() -> None:
    graph = await load(chain(fakes.Words, fakes.Upper))
    assert await run(graph, "a b c") == ["A", "B", "C"]
    assert graph.num_running == 0
    assert not pending_nodes()


async def test_many_more_packets_than_a_stream_holds() -> None:
    graph = await load(chain(fakes.Words, fakes.Upper, fakes.Anything, max_queue_size=1))
    assert await run(graph, "x " * 500) == ["X"] * 500


async def test_runs_at_once_on_one_graph_do_not_mix() -> None:
    graph = await load(chain(fakes.Words, fakes.Upper))
    texts = [" ".join(f"{letter}{i}" for i in range(50)) for letter in "abcdefgh"]
    results = await asyncio.gather(*(run(graph, text) for text in texts))
    assert results == [text.upper().split() for text in texts]


async def test_leaving_early_stops_every_node_and_waits_for_it() -> None:
    graph = await load(chain(fakes.Counter, fakes.Upper, fakes.Anything))
    async with graph.start_run("n") as running:
        assert graph.num_running == 1
        async for packet in running:
            if packet == "N5":
                break
    assert fakes.Counter.left == ["n"]
    assert graph.num_running == 0
    assert not pending_nodes()


async def test_a_node_that_waits_elsewhere_is_woken_when_nobody_wants_its_output() -> None:
    class First(Calculator):
        contract = Contract(inputs=(IN,), outputs=(OUT,))

        async def process(self, cc: ProcessContext) -> None:
            await cc.output(OUT).send(await cc.input(IN).receive())

    graph = await load(chain(fakes.Waiter, First))
    assert await run(graph, "w") == ["w"]
    assert fakes.Waiter.left == ["w"]


async def test_a_node_goes_on_while_one_of_its_outputs_is_wanted() -> None:
    class FirstOnly(Calculator):
        contract = Contract(inputs=(IN,))

        async def process(self, cc: ProcessContext) -> None:
            await cc.input(IN).receive()

    class Patient(fakes.Upper):
        async def process(self, cc: ProcessContext) -> None:
            async for text in cc.input(IN):
                await cc.output(OUT).send(text)
                if not cc.output(fakes.SECOND).closed:
                    await cc.output(fakes.SECOND).send(text)

    config = GraphConfig(
        input_streams=("IN:a",),
        output_streams=("OUT:first",),
        nodes=(
            node(fakes.Words, "a", "words"),
            NodeConfig(
                Patient,
                input_streams=("IN:words",),
                output_streams=("OUT:first", "SECOND:second"),
            ),
            NodeConfig(FirstOnly, input_streams=("IN:second",)),
        ),
    )
    assert await run(await load(config), "a b c d") == ["a", "b", "c", "d"]


async def test_one_stream_feeds_several_nodes_and_the_border() -> None:
    class Log(Calculator):
        contract = Contract(inputs=(IN,))
        seen: ClassVar[list[str]] = []

        async def process(self, cc: ProcessContext) -> None:
            async for text in cc.input(IN):
                await asyncio.sleep(0)
                self.seen.append(text)

    words = chain(fakes.Words)
    log = NodeConfig(Log, input_streams=("IN:s1",))
    graph = await load(GraphConfig((*words.nodes, log), words.input_streams, words.output_streams))
    assert await run(graph, "a b c") == ["a", "b", "c"]
    assert Log.seen == ["a", "b", "c"], "a node beside the path ends before the run does"


async def test_the_exception_of_a_node_comes_out_as_it_is() -> None:
    class Refuses(fakes.Upper):
        error = InvalidRequestError("too long", "prompt")

        async def process(self, cc: ProcessContext) -> None:
            await cc.input(IN).receive()
            raise self.error

    graph = await load(chain(fakes.Counter, Refuses, fakes.Upper))
    with pytest.raises(InvalidRequestError) as caught:
        await run(graph, "n")
    assert caught.value is Refuses.error
    assert fakes.Counter.left == ["n"]
    assert not pending_nodes()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, StopAsyncIteration])
async def test_a_fatal_error_of_a_node_fails_its_run_alone(error: type[BaseException]) -> None:
    class Breaks(fakes.Upper):
        async def process(self, cc: ProcessContext) -> None:
            raise error("x")

    with pytest.raises(RuntimeError, match=f"it raised {error.__name__}: x"):
        await run(await load(chain(fakes.Words, Breaks)), "n")
    assert not pending_nodes()


async def test_a_packet_of_the_wrong_type_names_the_node_and_the_tag() -> None:
    class Wrong(fakes.Upper):
        async def process(self, cc: ProcessContext) -> None:
            await cc.output(OUT).send(1)  # type: ignore[arg-type]  # the mistake under test

    graph = await load(chain(Wrong))
    with pytest.raises(
        TypeError, match="node 'Wrong' output 'OUT' was sent a int, but carries str"
    ):
        await run(graph, "n")


async def test_a_pass_through_node_is_held_to_the_type_that_it_passes_on() -> None:
    class Liar(fakes.Anything):
        async def process(self, cc: ProcessContext) -> None:
            await cc.output(self.contract.outputs[0]).send(1)

    graph = await load(chain(fakes.Words, Liar, fakes.Upper))
    with pytest.raises(TypeError, match="node 'Liar' output 'OUT' was sent a int"):
        await run(graph, "n")


async def test_a_request_of_the_wrong_type_is_our_own_bug() -> None:
    graph = await load(chain(fakes.Words))
    with pytest.raises(TypeError, match="graph 'g' takes str, not int"):
        graph.start_run(1)


async def test_cancelling_the_consumer_stops_the_nodes_first() -> None:
    graph = await load(chain(fakes.Waiter, fakes.Upper))
    consumer = asyncio.create_task(run(graph, "w"))
    await asyncio.sleep(0.01)
    assert len(pending_nodes()) == 2
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    assert fakes.Waiter.left == ["w"]
    assert graph.num_running == 0
    assert not pending_nodes()


async def test_cancelling_twice_still_waits_for_finally_blocks() -> None:
    class SlowToLeave(fakes.Upper):
        left: ClassVar[list[str]] = []

        async def process(self, cc: ProcessContext) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.05)
                self.left.append("left")

    graph = await load(chain(SlowToLeave))
    consumer = asyncio.create_task(run(graph, "w"))
    await asyncio.sleep(0.01)
    consumer.cancel()
    await asyncio.sleep(0.01)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    assert SlowToLeave.left == ["left"]


async def test_cancelling_before_the_nodes_began() -> None:
    graph = await load(chain(fakes.Waiter))
    async with graph.start_run("w"):
        pass
    assert not pending_nodes()


async def test_a_node_that_swallows_cancellation_does_not_hold_up_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run_module, "STOP_TIMEOUT_S", 0.05)
    release = asyncio.Event()

    class Stubborn(fakes.Upper):
        async def process(self, cc: ProcessContext) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

    graph = await load(chain(Stubborn))
    async with graph.start_run("w"):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert "node 'Stubborn' still works" in caplog.text
    assert graph.num_running == 0
    release.set()
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "g/Stubborn"))


async def test_an_error_while_a_node_is_stopped_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Breaks(fakes.Upper):
        async def process(self, cc: ProcessContext) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("broken cleanup")

    graph = await load(chain(Breaks))
    with caplog.at_level(logging.WARNING):
        async with graph.start_run("w"):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    assert "node 'Breaks' raised while it was stopped" in caplog.text


async def test_a_node_cancelled_by_something_else_fails_the_run() -> None:
    class Foreign(fakes.Upper):
        async def process(self, cc: ProcessContext) -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    graph = await load(chain(Foreign))
    with pytest.raises(RuntimeError, match="node 'Foreign' was cancelled, and not by its run"):
        await run(graph, "w")


async def test_an_exception_of_the_consumer_stops_the_run_and_goes_on() -> None:
    graph = await load(chain(fakes.Counter))

    async def consume() -> None:
        async with graph.start_run("n") as running:
            async for _ in running:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await consume()
    assert fakes.Counter.left == ["n"]


async def test_an_optional_input_that_is_not_connected_has_ended() -> None:
    graph = await load(chain(fakes.Join))
    assert await run(graph, "x") == ["IN=x"]


async def test_a_source_node_needs_no_input() -> None:
    class Source(Calculator):
        contract = Contract(outputs=(OUT,))

        async def process(self, cc: ProcessContext) -> None:
            await cc.output(OUT).send("made")

    config = GraphConfig(
        input_streams=("IN:a",),
        output_streams=("OUT:joined",),
        nodes=(
            NodeConfig(Source, output_streams=("OUT:made",)),
            NodeConfig(
                fakes.Join,
                input_streams=("IN:a", "SECOND:made"),
                output_streams=("OUT:joined",),
            ),
        ),
    )
    assert await run(await load(config), "x") == ["IN=x", "SECOND=made"]


async def test_the_end_of_an_input_is_a_normal_end_of_its_reader() -> None:
    class Reads(fakes.Upper):
        async def process(self, cc: ProcessContext) -> None:
            while True:
                await cc.send(OUT, await cc.receive(IN))

    assert await run(await load(chain(fakes.Words, Reads)), "a b") == ["a", "b"]


async def test_a_graph_can_be_left_without_being_read(tmp_path: Path) -> None:
    graph = await Graph.load(chain(fakes.Counter), tmp_path, "g")
    async with graph.start_run("n"):
        await asyncio.sleep(0.01)
    assert fakes.Counter.left == fakes.Counter.started == ["n"]


class Grouped(fakes.Upper):
    """Reads and writes in a TaskGroup."""

    error: ClassVar[Exception | None] = None

    async def process(self, cc: ProcessContext) -> None:
        name = await cc.input(IN).receive()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write(cc, OUT, name))
            group.create_task(self._write(cc, fakes.SECOND, name))

    async def _write(self, cc: ProcessContext, tag: Tag[str], name: str) -> None:
        for _ in range(5):
            await cc.output(tag).send(name)
        if self.error is not None:
            raise self.error


async def test_a_closed_stream_in_a_task_group_is_a_normal_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    graph = await load(chain(Grouped, max_queue_size=1))
    async with graph.start_run("x") as running:
        assert await anext(running) == "x"
    assert not caplog.records


async def test_an_error_in_a_task_group_comes_out_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    error = InvalidRequestError("too long")
    monkeypatch.setattr(Grouped, "error", error)
    graph = await load(chain(Grouped))
    with pytest.raises(InvalidRequestError) as caught:
        await run(graph, "x")
    assert caught.value is error


async def test_nothing_is_left_for_the_event_loop_to_complain_about() -> None:
    class Refuses(fakes.Upper):
        async def process(self, cc: ProcessContext) -> None:
            raise InvalidRequestError("no")

    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    graph = await load(chain(fakes.Counter, Refuses, Refuses))
    for _ in range(5):
        with pytest.raises(InvalidRequestError):
            await run(graph, "x")
        async with graph.start_run("unread"):
            await asyncio.sleep(0)
    gc.collect()
    await asyncio.sleep(0)
    assert not complaints
    assert not pending_nodes()
