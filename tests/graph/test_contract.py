from typing import Any, Protocol

import pytest
from support import graph_fakes as fakes
from support.graph_fakes import IN, OUT, chain, load, run

from server.graph import Contract, ProcessContext, Tag


class Shape(Protocol):
    size: int


@pytest.mark.parametrize("hint", [list[int], Any, "str", Shape])
def test_a_tag_needs_a_class_that_packets_can_be_checked_against(hint: Any) -> None:
    with pytest.raises(TypeError):
        Tag("IN", hint)


def test_a_contract_names_a_tag_once() -> None:
    with pytest.raises(ValueError, match="outputs name these tags twice: OUT"):
        Contract(outputs=(OUT, OUT))


def test_options_are_a_dataclass() -> None:
    with pytest.raises(TypeError, match="options must be a dataclass"):
        Contract(options=dict)


async def test_a_tag_that_the_contract_does_not_name_is_a_bug_of_the_calculator() -> None:
    class Asks(fakes.Upper):
        async def process(self, cc: ProcessContext) -> None:
            cc.input(Tag("OTHER", str))

    with pytest.raises(AssertionError, match="tag 'OTHER' is not among the inputs"):
        await run(await load(chain(Asks)), "x")


async def test_what_is_connected() -> None:
    class Looks(fakes.Upper):
        async def process(self, cc: ProcessContext) -> None:
            found = [cc.has_input(IN), cc.has_output(OUT), cc.has_output(fakes.SECOND)]
            await cc.output(OUT).send(f"{cc.node_name} {found}")

    assert await run(await load(chain(Looks)), "x") == ["Looks [True, True, False]"]
