"""Graphs in OpenVINO Model Server's form: one stream for each tensor of a request.

KServe's inputs go to the streams of their names, and outputs come from the streams of theirs. Two
nodes are put around such a graph, so that it takes one request and gives one answer as all others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from server.graph import GraphConfig, NodeConfig
from server.graph.config import Port

__all__ = ["with_tensor_borders"]

TENSOR_TAGS = ("OVTENSOR", "OVMS_PY_TENSOR", "TENSOR", "TFTENSOR")
# Under other tags OVMS takes a border for a tensor of a model. Here it is one if one of these nodes
# reads or writes it.
TENSOR_CALCULATORS = ("OpenVINOInferenceCalculator", "PythonExecutorCalculator")
WHOLE_REQUEST_TAGS = ("INFER_REQUEST", "INFER_RESPONSE")
REQUEST_STREAM = "infer_request"
RESPONSE_STREAM = "infer_response"


def with_tensor_borders(graph: GraphConfig) -> GraphConfig:
    """The graph between one request and one answer; a graph of another kind as it is."""
    try:
        inputs = [Port.parse(text) for text in graph.input_streams]
        outputs = [Port.parse(text) for text in graph.output_streams]
    except ValueError:
        return graph  # validation reports it
    if not (inputs and outputs and _is_of_tensors(graph, inputs, outputs)):
        return graph
    taken = {port.name for port in _ports(graph.nodes)} | {port.name for port in inputs}
    request, response = (_unused(name, taken) for name in (REQUEST_STREAM, RESPONSE_STREAM))
    splitter = NodeConfig(
        "TensorInputsCalculator",
        name=REQUEST_STREAM,
        input_streams=(f"INFER_REQUEST:{request}",),
        output_streams=_tagged(inputs),
        output_side_packets=(f"INPUT_NAMES:{request}",),
    )
    joiner = NodeConfig(
        "TensorOutputsCalculator",
        name=RESPONSE_STREAM,
        input_streams=(f"INFER_REQUEST:{request}", *_tagged(outputs)),
        output_streams=(f"INFER_RESPONSE:{response}",),
        input_side_packets=(f"INPUT_NAMES:{request}",),
    )
    return replace(
        graph,
        nodes=(splitter, *graph.nodes, joiner),
        input_streams=(f"INFER_REQUEST:{request}",),
        output_streams=(f"INFER_RESPONSE:{response}",),
    )


def _is_of_tensors(graph: GraphConfig, inputs: Sequence[Port], outputs: Sequence[Port]) -> bool:
    borders = (*inputs, *outputs)
    if len(inputs) > 1 or len(outputs) > 1 or any(p.tag.startswith(TENSOR_TAGS) for p in borders):
        return True
    of_tensors = _ports(n for n in graph.nodes if n.calculator_name in TENSOR_CALCULATORS)
    names = {port.name for port in of_tensors if port.tag not in WHOLE_REQUEST_TAGS}
    return any(port.name in names for port in borders)


def _ports(nodes: Iterable[NodeConfig]) -> Iterable[Port]:
    for node in nodes:
        for text in (*node.input_streams, *node.output_streams):
            try:
                yield Port.parse(text)
            except ValueError:
                continue  # validation reports it


def _tagged(ports: Sequence[Port]) -> tuple[str, ...]:
    """The streams under tags of their own: OVMS lets borders share a tag, or have none."""
    return tuple(f"TENSOR{number}:{port.name}" for number, port in enumerate(ports))


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
