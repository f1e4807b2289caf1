"""Models without a graph: the versions to serve, and the graph that serves each of them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from server.errors import ModelLoadError
from server.graph import GraphConfig
from server.models.classic_config import VersionPolicy
from server.models.config import ModelConfig, ServerConfig
from server.models.default_graph import llm_graph, tensor_graph
from server.models.model_folder import find_folder_problem, is_llm

__all__ = ["classic_graph", "find_versions"]


def find_versions(config: ServerConfig) -> ServerConfig:
    """The configuration with an entry for each version to serve.

    A model with a graph has one version. A model without a graph may have folders named 1, 2, ...,
    and its policy chooses among them. Without such folders, its own folder is version 1.
    """
    models = (version for model in config.models for version in _versions_of(model))
    return replace(config, models=tuple(models))


def _versions_of(model: ModelConfig) -> Iterator[ModelConfig]:
    if model.is_graph or model.names_graph or model.find_graph() is not None:
        yield model
        return
    folders = _version_folders(model.base_path)
    policy = model.classic.version_policy
    # Without the policy: a new policy that chooses the same version must not reload it.
    classic = replace(model.classic, version_policy=VersionPolicy())
    for version in policy.choose(folders):
        folder = folders.get(version, model.base_path / str(version))
        yield replace(model, version=version, model_folder=folder, classic=classic)


def _version_folders(base_path: Path) -> Mapping[int, Path]:
    try:
        folders = [path for path in base_path.iterdir() if _is_version(path.name) and path.is_dir()]
    except OSError:
        folders = []
    return {int(folder.name): folder for folder in folders} or {1: base_path}


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and not name.startswith("0") and len(name) <= 18


def classic_graph(model: ModelConfig) -> GraphConfig:
    """The graph of one node that serves a version. Raises ModelLoadError where nothing can.

    A folder with all that an LLM needs gets the node that generates text, any other the one that
    takes tensors.
    """
    folder, classic = model.model_folder, model.classic
    assert folder is not None
    problem = find_folder_problem(folder)
    if problem is not None:
        raise ModelLoadError(problem)
    if classic.problems:
        raise ModelLoadError(f"its configuration cannot be used: {'; '.join(classic.problems)}")
    source_name = f"the graph made for {folder}"
    options = {"device": classic.device, "plugin_config": classic.plugin_config}
    tensor_options = {
        "nireq": classic.nireq,
        "shape": classic.shape,
        "batch_size": classic.batch_size,
        "layout": classic.layout,
    }
    if is_llm(folder) and not any(tensor_options.values()):
        return llm_graph(source_name, options)
    return tensor_graph(source_name, {**options, **tensor_options})
