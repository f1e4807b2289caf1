"""From an entry of the configuration to the graph that serves it."""

import asyncio
from dataclasses import replace
from pathlib import Path

from server.graph import Graph, GraphConfig, Services, calculator_file, load_graph_config
from server.models.classic_model import classic_graph
from server.models.config import ModelConfig
from server.models.watched_files import WatchedFiles

__all__ = ["load_graph", "read_graph"]


async def load_graph(
    config: ModelConfig, files: WatchedFiles, services: Services | None = None
) -> Graph:
    """Load the model; what it is made from is added to `files`, also where that fails.

    Raises ServingError, and whatever else the code of a calculator raises.
    """
    # Calculators are imported here: seconds in which the server has to answer probes.
    graph_config, base_path = await asyncio.to_thread(read_graph, config, files)
    services = replace(services or Services(), on_resolve=files.add)
    return await Graph.load(graph_config, base_path, config.name, services)


def read_graph(config: ModelConfig, files: WatchedFiles) -> tuple[GraphConfig, Path]:
    """The graph and the folder that its paths are relative to. Raises ServingError."""
    if config.model_folder is not None:
        files.add(config.model_folder)
        return classic_graph(config), config.model_folder
    for candidate in config.graph_candidates():
        files.add(candidate)
    path = config.require_graph()
    graph_config = load_graph_config(path)
    for node in graph_config.nodes:
        file = calculator_file(node.calculator_name, path.parent)
        if file is not None:
            files.add(file)
    return graph_config, path.parent
