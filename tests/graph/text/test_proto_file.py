from server.graph.text.proto_file import config_message_class


def test_names_and_numbers_are_those_of_mediapipe() -> None:
    graph = config_message_class("CalculatorGraphConfig").DESCRIPTOR
    numbers = {field.name: field.number for field in graph.fields}
    assert numbers["node"] == 1
    assert numbers["input_stream"] == 10
    assert numbers["output_stream"] == 15
    assert numbers["max_queue_size"] == 11
    node = config_message_class("CalculatorGraphConfig.Node").DESCRIPTOR
    numbers = {field.name: field.number for field in node.fields}
    assert numbers["calculator"] == 2
    assert numbers["options"] == 7
    assert numbers["node_options"] == 8
    assert numbers["input_stream_info"] == 13
    assert node.fields_by_name["node_options"].message_type.full_name == "google.protobuf.Any"


def test_extensions_are_registered() -> None:
    options = config_message_class("MediaPipeOptions").DESCRIPTOR
    pool = options.file.pool
    extension = pool.FindExtensionByName("mediapipe.SyncSetInputStreamHandlerOptions.ext")
    assert extension.containing_type is options
