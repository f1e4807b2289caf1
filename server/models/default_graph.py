"""The graphs of models whose folders have no graph.pbtxt: one node, on the files beside it."""

from collections.abc import Mapping
from typing import Any

from server.graph import GraphConfig, NodeConfig

__all__ = ["llm_graph", "tensor_graph"]


def llm_graph(source_name: str, options: Mapping[str, Any]) -> GraphConfig:
    """The graph that export_model writes; its node stands for those from tokenizer to parser."""
    node = NodeConfig(
        "HttpLLMCalculator",
        name="LLMExecutor",
        input_streams=("HTTP_REQUEST_PAYLOAD:input",),
        output_streams=("HTTP_RESPONSE_PAYLOAD:output",),
    )
    return _graph(node, source_name, {"enable_prefix_caching": True, **options})


def tensor_graph(source_name: str, options: Mapping[str, Any]) -> GraphConfig:
    """The graph of a model that takes tensors."""
    node = NodeConfig(
        "OpenVINOInferenceCalculator",
        name="Model",
        input_streams=("INFER_REQUEST:request",),
        output_streams=("INFER_RESPONSE:response",),
    )
    return _graph(node, source_name, options)


def _graph(node: NodeConfig, source_name: str, options: Mapping[str, Any]) -> GraphConfig:
    return GraphConfig(
        nodes=(node,),
        input_streams=node.input_streams,
        output_streams=node.output_streams,
        source_name=source_name,
        options={"models_path": "./", **options},
    )
