from typing import Any, Protocol

import pytest
from support import graph_fakes as fakes
from support.graph_fakes import IN, OUT, chain, load, run

from server.graph import Calculator, Contract, ProcessContext, Tag


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
    with pytest.raises(TypeError, match=r"Odd: options must be a dataclass, not dict\[str, int\]"):

        class Odd(Calculator[dict[str, int]]):
            pass


def test_a_subclass_has_the_options_of_its_base() -> None:
    class Louder(fakes.Llm):
        pass

    assert Louder.options_class is fakes.Llm.options_class is fakes.LlmOptions
    assert fakes.Upper.options_class is None


async def test_a_tag_declared_as_optional_is_the_same_tag() -> None:
    class Either(fakes.Upper):
        contract = Contract(inputs=(IN,), outputs=(OUT.as_optional(), fakes.SECOND))

    assert await run(await load(chain(Either)), "x") == ["X"]


async def test_an_input_of_one_packet() -> None:
    class Once(fakes.Upper):
        async def process(self, cc: ProcessContext) -> None:
            await cc.send(OUT, (await cc.receive(IN)).upper())

    assert await run(await load(chain(Once)), "x") == ["X"]
    # An empty text gives no packet, so `receive` ends the next node.
    assert await run(await load(chain(fakes.Words, Once)), "") == []


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
