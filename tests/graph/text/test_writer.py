from dataclasses import replace
from pathlib import Path

from support.graph_fakes import Llm, LlmOptions, Maker, Mode, Taker, node

from server.graph import GraphConfig, parse_graph_config, validate, write_graph_config

OPTIONS = {
    "pipeline_type": Mode.LM_CB,
    "models_path": 'it\'s "odd" \\ é\nline',
    "plugin_config": '{"CACHE_DIR": "it\'s"}',
    "dynamic_split_fuse": False,
    "cache_size": 2,
    "unknown": "of no node",
}


def test_what_is_written_is_read_again() -> None:
    llm = replace(
        node(Llm, "in", "out", name="llm", output_side_packets=()),
        input_streams=("HTTP_REQUEST_PAYLOAD:in",),
        output_streams=("HTTP_RESPONSE_PAYLOAD:out",),
    )
    config = GraphConfig((llm,), ("IN:in",), ("OUT:out",))
    text = write_graph_config(config, OPTIONS)
    text = text.replace('"Llm"', '"support.graph_fakes:Llm"')
    (found,) = validate(parse_graph_config(text, "g"), Path()).nodes
    options = {name: value for name, value in OPTIONS.items() if name != "unknown"}
    assert found.options == LlmOptions(**options)


def test_every_kind_of_port_is_written() -> None:
    maker = node(Maker, "a", "b", name="m", output_side_packets=("MODEL:model",))
    taker = node(Taker, "b", "c", name="t", input_side_packets=("MODEL:model",))
    config = GraphConfig((maker, taker), ("IN:a",), ("OUT:c",))
    read = parse_graph_config(write_graph_config(config, OPTIONS), config.source_name)
    nodes = tuple(replace(node, position=None) for node in read.nodes)
    names = tuple(replace(node, calculator=node.calculator_name) for node in config.nodes)
    assert replace(read, nodes=nodes) == replace(config, nodes=names)
