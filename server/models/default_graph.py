"""The graphs of models whose folders have no graph.pbtxt: one node, on the files beside it."""

from collections.abc import Mapping
from typing import Any

from server.graph import GraphConfig, NodeConfig
from server.models.tasks import TEXT_GENERATION, Task

__all__ = ["llm_graph", "task_graph", "tensor_graph"]


def task_graph(task: Task, source_name: str, options: Mapping[str, Any]) -> GraphConfig:
    """The node that `export_model` writes for the task, with these options set in it."""
    request, response = task.tags
    node = NodeConfig(
        task.calculator,
        name=task.node_name,
        input_streams=(f"{request}:input",),
        output_streams=(f"{response}:output",),
    )
    return _graph(node, source_name, {**task.options, **options})


def llm_graph(source_name: str, options: Mapping[str, Any]) -> GraphConfig:
    """The graph of a model that generates text."""
    return task_graph(TEXT_GENERATION, source_name, options)


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
