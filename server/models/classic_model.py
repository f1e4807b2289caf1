"""Models without a graph: the versions to serve, and the graph that serves each of them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from server.errors import ModelLoadError
from server.graph import GraphConfig
from server.models.classic_config import VersionPolicy
from server.models.config import ModelConfig, ServerConfig
from server.models.default_graph import task_graph, tensor_graph
from server.models.model_folder import find_folder_problem
from server.models.tasks import find_task, task_named

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

    The node is that of the task, which the configuration names or the files show, or else the one
    that takes tensors. Only a model that takes tensors has a shape, a layout or a batch size, and
    only one of a task has `options`.
    """
    folder, classic = model.model_folder, model.classic
    assert folder is not None
    task = task_named(classic.task) if classic.task else None
    problem = find_folder_problem(folder, task.files if task else ())
    if problem is not None:
        raise ModelLoadError(problem)
    if classic.problems:
        raise ModelLoadError(f"its configuration cannot be used: {'; '.join(classic.problems)}")
    source_name = f"the graph made for {folder}"
    tensor_options = {
        "nireq": classic.nireq,
        "shape": classic.shape,
        "batch_size": classic.batch_size,
        "layout": classic.layout,
        "max_batch_size": classic.max_batch_size,
        "max_queue_delay_ms": classic.max_queue_delay_ms,
    }
    given = [name for name, value in tensor_options.items() if value]
    if task is None and not given:
        task = find_task(folder)
    if task is None:
        if classic.options:
            raise ModelLoadError("options is for a model of a task; this one takes tensors")
        options = {"device": classic.device, "plugin_config": classic.plugin_config}
        return tensor_graph(source_name, {**options, **tensor_options})
    if given:
        raise ModelLoadError(f"{given[0]} is for tensors; a model of task {task.name} has none")
    problem = find_folder_problem(folder, task.files)
    if problem is not None:
        raise ModelLoadError(problem)
    named = {task.device_option: classic.device, "plugin_config": classic.plugin_config}
    options = {name: value for name, value in named.items() if value}
    return task_graph(task, source_name, {**options, **json.loads(classic.options or "{}")})
