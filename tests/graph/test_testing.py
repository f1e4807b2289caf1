from pathlib import Path
from typing import ClassVar

import pytest
from support import graph_fakes as fakes
from support.graph_fakes import IN, MODEL, OUT, SECOND, LlmOptions

from server.errors import InvalidRequestError
from server.graph import OpenContext, ProcessContext
from server.graph.testing import CalculatorRunner


async def test_packets_in_packets_out() -> None:
    runner = CalculatorRunner(fakes.Upper)
    runner.open()
    assert await runner.run({IN: ["a", "b"]}) == {"OUT": ["A", "B"], "SECOND": ["a", "b"]}
    assert await runner.run({"IN": []}) == {"OUT": [], "SECOND": []}
    runner.close()


async def test_side_packets_both_ways() -> None:
    maker = CalculatorRunner(fakes.Maker, node_name="m")
    maker.open()
    assert maker.output_side_packets == {"MODEL": "model of m"}
    taker = CalculatorRunner(fakes.Taker, side_packets={MODEL: "it"})
    taker.open()
    assert await taker.run({"IN": ["x"]}) == {"OUT": ["x by it = it"]}


async def test_options() -> None:
    runner = CalculatorRunner(fakes.Llm, options=LlmOptions("./here"))
    runner.open()
    outputs = await runner.run({"HTTP_REQUEST_PAYLOAD": ["x"]})
    assert outputs == {"HTTP_RESPONSE_PAYLOAD": ["x./here"]}


async def test_a_client_that_leaves() -> None:
    fakes.Counter.left.clear()
    runner = CalculatorRunner(fakes.Counter)
    outputs = await runner.run({"IN": ["n"]}, stop_after={OUT: 3})
    assert outputs == {"OUT": ["n0", "n1", "n2"]}
    assert fakes.Counter.left == ["n"]


async def test_one_of_two_outputs_closed_is_a_normal_end() -> None:
    runner = CalculatorRunner(fakes.Upper)
    outputs = await runner.run({"IN": ["a", "b", "c"]}, stop_after={SECOND: 0})
    assert outputs == {"OUT": ["A"], "SECOND": []}


async def test_an_error_of_process_comes_out() -> None:
    class Refuses(fakes.Upper):
        async def process(self, cc: ProcessContext) -> None:
            raise InvalidRequestError("no")

    with pytest.raises(InvalidRequestError, match="no"):
        await CalculatorRunner(Refuses).run({"IN": []})


def test_base_path(tmp_path: Path) -> None:
    class Paths(fakes.Upper):
        path: ClassVar[list[Path]] = []

        def open(self, cc: OpenContext) -> None:
            self.path.append(cc.resolve("x"))

    CalculatorRunner(Paths, base_path=tmp_path).open()
    assert Paths.path == [tmp_path / "x"]


async def test_mistakes_of_the_test_itself() -> None:
    with pytest.raises(AssertionError, match="side packet 'MODEL' is missing"):
        CalculatorRunner(fakes.Taker)
    with pytest.raises(AssertionError, match="side packet 'MODEL' is str, not int"):
        CalculatorRunner(fakes.Taker, side_packets={"MODEL": 3})
    runner = CalculatorRunner(fakes.Upper)
    with pytest.raises(AssertionError, match="does not name"):
        await runner.run({"INN": []})
    with pytest.raises(AssertionError, match="input 'IN' takes str, not int"):
        await runner.run({"IN": [3]})
