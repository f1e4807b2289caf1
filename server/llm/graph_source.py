"""The graph that an LLM runs: the one of the model folder, or tokenizer, executor, detokenizer."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from server.errors import ModelLoadError
from server.graph import Graph, GraphConfig, NodeConfig, load_graph_config
from server.models.config import DEFAULT_GRAPH_NAME
from server.payloads import GenerationRequest, TextChunk

__all__ = ["load_graph"]

MODEL_FILE = "openvino_model.xml"


async def load_graph(path: Path, options: Mapping[str, Any]) -> Graph:
    """Load the graph of a model folder, or a graph.pbtxt, with these options set in its nodes.

    Raises ModelLoadError where there is no model or the graph is no LLM's, and what Graph.load
    raises.
    """
    config, folder = _graph_config(path, options)
    graph = await Graph.load(config, folder, folder.name or str(folder))
    if (graph.input.type, graph.output.type) != (GenerationRequest, TextChunk):
        found = f"from {graph.input.type.__name__} to {graph.output.type.__name__}"
        await graph.close()
        raise ModelLoadError(f"{config.source_name}: the graph goes {found}; it is no LLM")
    return graph


def _graph_config(path: Path, options: Mapping[str, Any]) -> tuple[GraphConfig, Path]:
    """The graph of a model folder with the options set, and the folder that its paths start at."""
    values = {name: _option_value(name, value) for name, value in options.items()}
    graph_path = path if path.is_file() else path / DEFAULT_GRAPH_NAME
    if graph_path.is_file():
        return replace(load_graph_config(graph_path), options=values), graph_path.parent
    if (path / MODEL_FILE).is_file():
        return _default_graph(path, values), path
    raise ModelLoadError(
        f"{path}: there is neither {DEFAULT_GRAPH_NAME} nor {MODEL_FILE}; a folder that "
        "export_model wrote has both"
    )


def _default_graph(folder: Path, values: Mapping[str, Any]) -> GraphConfig:
    node = NodeConfig(
        "HttpLLMCalculator",
        name="LLMExecutor",
        input_streams=("HTTP_REQUEST_PAYLOAD:input",),
        output_streams=("HTTP_RESPONSE_PAYLOAD:output",),
    )
    return GraphConfig(
        nodes=(node,),
        input_streams=node.input_streams,
        output_streams=node.output_streams,
        source_name=str(folder),
        options={"models_path": ".", **values},
    )


def _option_value(name: str, value: Any) -> Any:
    if name == "plugin_config" and isinstance(value, Mapping):
        return json.dumps(dict(value))
    return str(value) if isinstance(value, Path) else value
