from pathlib import Path

import pytest
from support.graph_fakes import Eviction, LlmOptions, Mode

from server.errors import GraphParseError
from server.graph import load_graph_config, parse_graph_config, validate
from server.graph.config import DEFAULT_MAX_QUEUE_SIZE, NodeConfig, Port, Position
from server.graph.text import parser as parser_module

NODE = 'node { calculator: "X" }'


def errors(text: str) -> list[str]:
    with pytest.raises(GraphParseError) as caught:
        parse_graph_config(text, "graph.pbtxt")
    return str(caught.value).splitlines()


def test_a_graph_of_ovms(data: Path, register) -> None:
    register(HttpLLMCalculator="support.graph_fakes:Llm")
    config = load_graph_config(data / "ovms_llm.pbtxt")
    assert config.input_streams == ("HTTP_REQUEST_PAYLOAD:input",)
    (node,) = config.nodes
    assert node.name == "LLMExecutor"
    assert node.position == Position(6, 1)
    assert node.back_edges == ("LOOPBACK:0",)
    (validated,) = validate(config, data).nodes
    assert validated.options == LlmOptions(
        models_path="./",
        plugin_config='{ "KV_CACHE_PRECISION": "u8", "NUM_STREAMS": 1 }',
        enable_prefix_caching=True,
        cache_size=10,
        device="CPU",
        pipeline_type=Mode.LM_CB,
        cache_eviction_config=Eviction(32, 128, 512),
    )
    assert validated.ports.inputs == {"HTTP_REQUEST_PAYLOAD": "input"}


def test_options_as_an_extension_and_fields_without_effect(data: Path, register) -> None:
    register(HttpLLMCalculator="support.graph_fakes:Llm")
    config = load_graph_config(data / "extension_options.pbtxt")
    assert config.max_queue_size == 8
    graph = validate(config, data)
    (node,) = graph.nodes
    assert node.name == "LLMExecutor"
    assert node.options == LlmOptions("./", enable_prefix_caching=True, dynamic_split_fuse=False)
    assert graph.layout.capacity == 8


def test_three_nodes(data: Path) -> None:
    config = load_graph_config(data / "three_nodes.pbtxt")
    assert [node.name for node in config.nodes] == ["Tokenizer", "LLMExecutor", "Detokenizer"]
    assert config.nodes[2] == NodeConfig(
        "DetokenizerCalculator",
        name="Detokenizer",
        input_streams=("TOKENS:tokens",),
        input_side_packets=("TOKENIZER:tokenizer",),
        output_streams=("TEXT:text",),
        position=Position(21, 1),
    )


def test_several_back_edges(data: Path) -> None:
    config = load_graph_config(data / "image_loopback.pbtxt")
    assert config.nodes[0].back_edges == ("LOOPBACK:0", "LOOPBACK:1")


def test_an_empty_text_is_a_graph_without_nodes() -> None:
    assert parse_graph_config("# nothing\n", "g").nodes == ()
    assert parse_graph_config("", "g").max_queue_size == DEFAULT_MAX_QUEUE_SIZE


@pytest.mark.parametrize("value", ["AUTO", "0", "12"])
def test_queue_comment_that_ovms_takes(value: str) -> None:
    assert parse_graph_config(f"# OVMS_GRAPH_QUEUE_MAX_SIZE: {value}\n{NODE}", "g").nodes


@pytest.mark.parametrize("value", ["-1", "many", "", "1.5"])
def test_queue_comment_that_ovms_refuses(value: str) -> None:
    (error,) = errors(f"\n# OVMS_GRAPH_QUEUE_MAX_SIZE: {value}\n{NODE}")
    assert error.startswith("graph.pbtxt:2:30")
    assert "it must be AUTO, 0 or a positive number" in error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('inptu_stream: "a"', "1:1: unknown field 'inptu_stream'; did you mean 'input_stream'"),
        ('\nnode {\n  calculater: "X" }', "3:3: unknown field 'calculater'; did you mean"),
        ('node { calculator: "X" input_stream_info { tag: "A" } }', "1:44: unknown field 'tag'"),
        ('node { calculator: "X"', "1:6: '{' is never closed"),
        ("node { ]", "1:8: ']' cannot close the '{' of 1:6"),
        ("}", "1:1: '}' closes nothing"),
        ('input_stream: "a\n"', "1:15: a string does not end on its line"),
        ("input_stream", "1:1: field 'input_stream' has no value"),
        ("input_stream: , ", "1:1: field 'input_stream' has no value"),
        ('"input_stream": "a"', '1:1: found "input_stream" instead of a field\'s name'),
        ('input_stream: "\\T"', "1:15: a string does not end on its line, or has an unknown"),
        ('input_stream: "\\ud800"', "1:15: 'utf-8' codec"),
        ('\ninput_stream: "\ud800"', ":2: 'utf-8' codec can't encode"),
        ('input_stream: "\\xff"', "Couldn't parse string: 'utf-8' codec can't decode"),
        ("node: 3", "1:7: Expected \"{\"; found '3'"),
        ('node { calculator: "X" calculator: "Y" }', "field 'calculator' is given twice"),
        ("node { }", "1:1: node '' has no `calculator`"),
        ("node { name: 'n' }", "1:1: node 'n' has no `calculator`"),
        ("num_threads: four", "1:14: Couldn't parse integer: four"),
        ("max_queue_size: 1 max_queue_size: 2", "field 'max_queue_size' is given twice"),
        (
            'node { calculator: "X" node_options: { [type.other.com/X]: {} } }',
            "node_options holds '[type.other.com/X]'; it must hold [type.googleapis.com/",
        ),
        (
            'node { calculator: "X" node_options: { type_url: "x" } }',
            "node_options holds 'type_url'",
        ),
        ('node { calculator: "X" options: { [X]: {} } }', "it must hold [package.Type.ext]"),
        ('node { calculator: "X" options: 3 }', "1:24: options is no message"),
        (
            "input_stream_handler { options { "
            "[mediapipe.SyncSetInputStreamHandlerOptions.ext] { sync_sets {} } } }",
            "1:85: unknown field 'sync_sets'; did you mean 'sync_set'?",
        ),
        (
            "executor { options { [mediapipe.No.ext] {} } }",
            "1:22: unknown '[mediapipe.No.ext]'; possible: '[medi",
        ),
    ],
)
def test_mistakes_have_a_place(text: str, error: str) -> None:
    (found,) = errors(text)
    assert found.startswith("graph.pbtxt:")
    assert error in found


def test_mistakes_of_several_nodes_come_together() -> None:
    found = errors('node { nam: "a" }\nnode { calculator: "X" inputs: "x" }\nnum_thread: 3')
    assert [line.split(": ")[0] for line in found] == [
        "graph.pbtxt:1:8",
        "graph.pbtxt:2:24",
        "graph.pbtxt:3:1",
    ]


@pytest.mark.parametrize("name", sorted(parser_module.REFUSED_FIELDS))
def test_fields_that_would_change_results_are_refused(name: str) -> None:
    value = '"x"' if name in ("option_value", "external_input") else '{ anything: "x" }'
    where = f'node {{ calculator: "X" {name}: {value} }}'
    for text in (f"{name}: {value} {NODE}", where):
        (error,) = errors(text)
        assert f"{name} is not supported: {parser_module.REFUSED_FIELDS[name]}" in error


def test_options_of_a_whole_graph_are_refused() -> None:
    (error,) = errors(f"options {{ [x.Y.ext] {{}} }} {NODE}")
    assert "options belong to a node" in error


@pytest.mark.parametrize("where", ["{}", 'node {{ calculator: "X" {} }}'])
def test_handlers_that_would_drop_packets_are_refused(where: str) -> None:
    text = 'input_stream_handler { input_stream_handler: "FixedSizeInputStreamHandler" }'
    (error,) = errors(where.format(text))
    assert "handler 'FixedSizeInputStreamHandler' is not supported" in error
    text = 'output_stream_handler { output_stream_handler: "TimestampAligner" }'
    (error,) = errors(where.format(text))
    assert "possible: 'InOrderOutputStreamHandler'" in error


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(GraphParseError, match="cannot be read: No such file"):
        load_graph_config(tmp_path / "graph.pbtxt")
    with pytest.raises(GraphParseError, match="is no regular file"):
        load_graph_config(tmp_path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "graph.pbtxt"
    path.write_bytes(b'input_stream: "a"\n\xff\xfe')
    with pytest.raises(GraphParseError, match=r"graph.pbtxt:2: byte 0xff is not UTF-8 text"):
        load_graph_config(path)
    path.write_bytes(bytes(range(128)) * 8)
    with pytest.raises(GraphParseError, match=r"graph.pbtxt:\d+:\d+"):
        load_graph_config(path)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "graph.pbtxt"
    path.write_bytes(b"\xef\xbb\xbf" + NODE.encode())
    assert len(load_graph_config(path).nodes) == 1


def test_a_file_that_is_too_big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "graph.pbtxt"
    path.write_text("#" * 2000)
    assert load_graph_config(path).nodes == ()
    monkeypatch.setattr(parser_module, "MAX_FILE_BYTES", 1000)
    with pytest.raises(GraphParseError, match="has 2000 bytes; a graph has at most 1000"):
        load_graph_config(path)


def test_too_many_nodes() -> None:
    (error,) = errors(f"{NODE}\n" * 1001)
    assert error == "graph.pbtxt:1001:1: a graph has at most 1000 nodes"


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("TAG:name", Port("TAG", 0, "name")),
        ("TAG:2:name", Port("TAG", 2, "name")),
        ("name", Port("", 0, "name")),
    ],
)
def test_forms_of_ports(text: str, port: Port) -> None:
    assert Port.parse(text) == port


@pytest.mark.parametrize("text", ["", ":", "TAG:", ":a", "A:b:c", "A:1:2:c", "a b", "A:-1:b", "é"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        Port.parse(text)
