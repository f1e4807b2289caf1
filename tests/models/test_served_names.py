"""Names that graphs offer for their models, such as those of adapters."""

from pathlib import Path

import pytest
from support.fakes import echo_graph, write_repository

from server.errors import ModelNotFoundError
from server.models.config import load_config
from server.models.model_manager import ModelManager

CALCULATOR = '''
"""Offers names."""

from dataclasses import dataclass

from server.graph import Calculator, Contract, OpenContext, ServedNames, Tag
from server.payloads import GenerationRequest, TextChunk

NAMES = Tag("NAMES", ServedNames, optional=True)


@dataclass
class Options:
    """Which names."""

    names: tuple[str, ...] = ()


class Offering(Calculator[Options]):
    """Offers names."""

    contract = Contract(
        inputs=(Tag("IN", GenerationRequest),),
        outputs=(Tag("OUT", TextChunk),),
        output_side_packets=(NAMES,),
    )

    def open(self, cc: OpenContext) -> None:
        cc.set_side_packet(NAMES, ServedNames(self.options.names))
'''


def graph(*names: str) -> str:
    offered = " ".join(f'names: "{name}"' for name in names)
    return f"""
        input_stream: "IN:in"
        output_stream: "OUT:out"
        node {{
            name: "offering"
            calculator: "./offering.py:Offering"
            input_stream: "IN:in"
            output_stream: "OUT:out"
            node_options: {{ [type.googleapis.com/Options]: {{ {offered} }} }}
        }}
    """


@pytest.fixture
async def manager(tmp_path: Path) -> ModelManager:
    graphs = {
        "base": graph("style", "plain"),
        "other": graph("style", "more"),
        "plain": echo_graph(),
    }
    config = write_repository(tmp_path, graphs)
    for name in ("base", "other"):
        (tmp_path / name / "offering.py").write_text(CALCULATOR)
    manager = ModelManager(load_config(config))
    await manager.load_all()
    return manager


async def test_a_model_is_found_by_the_names_that_its_graph_offers(manager: ModelManager) -> None:
    # Two graphs offer "style", and "plain" is configured.
    found = {name: manager.get(name).name for name in ("base", "style", "more", "plain")}
    assert found == {"base": "base", "style": "base", "more": "other", "plain": "plain"}
    assert manager.get("style", "1").name == "base"
    assert list(manager.served_names()) == ["base", "other", "plain"]
    with pytest.raises(ModelNotFoundError, match="there is no model 'stile'; did you mean 'style'"):
        manager.get("stile")
    await manager.close(0)


async def test_the_names_go_with_the_graph(manager: ModelManager) -> None:
    await manager.close(0)
    with pytest.raises(ModelNotFoundError, match="there is no model 'style'"):
        manager.get("style")
