"""The graph that a Python class runs: the one of the model folder, or a default graph."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from server.errors import ModelLoadError
from server.graph import Graph, GraphConfig, load_graph_config
from server.models.bundled import find_bundled_model
from server.models.config import DEFAULT_GRAPH_NAME
from server.models.default_graph import task_graph
from server.models.model_folder import find_folder_problem
from server.models.tasks import Task

__all__ = ["GraphKind", "find_graph", "load_graph"]


@dataclass(frozen=True, slots=True)
class GraphKind:
    """What the graph of a Python class must be.

    `name` is for messages, such as "LLM". A folder without a graph gets the default one of `task`.
    """

    name: str
    task: Task
    input_type: type
    output_type: type


async def load_graph(path: Path, options: Mapping[str, Any], kind: GraphKind) -> Graph:
    """Load the graph of a model folder, or a graph.pbtxt, with these options set in its nodes.

    Raises ModelLoadError where there is no model or the graph is of another kind, and what
    Graph.load raises.
    """
    config, folder = find_graph(path, options, kind)
    graph = await Graph.load(config, folder, folder.name or str(folder))
    mismatch = graph.find_mismatch(kind.input_type, kind.output_type)
    if mismatch is not None:
        await graph.close()
        raise ModelLoadError(f"{config.source_name}: the graph {mismatch}; it is no {kind.name}")
    return graph


def find_graph(path: Path, options: Mapping[str, Any], kind: GraphKind) -> tuple[GraphConfig, Path]:
    """The graph of a model folder with the options set, and the folder that its paths start at.

    The name of a bundled model stands for its folder.
    """
    values = {name: _option_value(name, value) for name, value in options.items()}
    if not path.exists():
        path = find_bundled_model(str(path)) or path
    graph_path = path if path.is_file() else path / DEFAULT_GRAPH_NAME
    if graph_path.is_file():
        return replace(load_graph_config(graph_path), options=values), graph_path.parent
    problem = find_folder_problem(path, kind.task.files)
    if problem is not None:
        raise ModelLoadError(problem)
    return task_graph(kind.task, str(path), values), path


def _option_value(name: str, value: Any) -> Any:
    if name == "plugin_config" and isinstance(value, Mapping):
        return json.dumps(dict(value))
    return str(value) if isinstance(value, Path) else value
