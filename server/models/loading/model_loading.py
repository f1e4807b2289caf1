"""From an entry of the configuration to the proof that it can be loaded."""

from dataclasses import dataclass, replace
from pathlib import Path

from server.errors import ModelLoadError, ServingError
from server.graph import (
    Graph,
    GraphConfig,
    Services,
    ValidatedGraph,
    calculator_file,
    load_graph_config,
    validate,
)
from server.graph.nodes.opening import check_nodes
from server.graph.numbers import GraphNumbers
from server.host.regular_files import find_unreadable
from server.models.classic_model import classic_graph
from server.models.config import ModelConfig
from server.models.model_folder import check_model_folders
from server.models.tensor_borders import with_tensor_borders
from server.models.watched_files import WatchedFiles

__all__ = ["CheckedModel", "check_model", "find_problem"]


@dataclass(frozen=True, eq=False, slots=True)
class CheckedModel:
    """A model whose graph is valid. Relative paths of the graph start at `base_path`.

    `num_bytes` is the size of the files in that folder and in those inside it, such as the parts of
    an image pipeline, which are most of what loading reads.
    """

    config: ModelConfig
    graph: ValidatedGraph
    base_path: Path
    num_bytes: int

    @property
    def opens_alone(self) -> bool:
        """Whether no other model may be loaded at the same time."""
        contracts = (node.contract for node in self.graph.nodes)
        return any(contract is not None and contract.opens_alone for contract in contracts)

    def check_files(self) -> None:
        """Let each node check the files that it would load. Raises what loading would raise."""
        check_nodes(self.graph.nodes, self.base_path, self.config.name)

    async def load(
        self,
        files: WatchedFiles,
        services: Services | None = None,
        numbers: GraphNumbers | None = None,
    ) -> Graph:
        """Open the graph, which goes on with `numbers`.

        The files that its nodes read are added to `files`, also where it fails.
        Raises ServingError, and whatever else the code of a calculator raises.
        """

        def note(path: Path) -> None:
            files.add(path)
            # Before a node opens it.
            problem = find_unreadable(path)
            if problem is not None:
                raise ModelLoadError(problem)

        name = self.config.name
        services = replace(services or Services(), on_resolve=note)
        report = services.on_progress
        if report is None:
            return await Graph.open(self.graph, self.base_path, name, services, numbers)
        label = self.config.label
        services = replace(
            services, on_progress=lambda text, fraction: report(f"{label}: {text}", fraction)
        )
        report(f"{label}: loading", 0.0)
        try:
            return await Graph.open(self.graph, self.base_path, name, services, numbers)
        finally:
            # However far it came.
            report(label, 1.0)


def check_model(config: ModelConfig, files: WatchedFiles) -> CheckedModel:
    """Check all that can be checked without loading; adds what the graph is made of to `files`.

    Raises ServingError, and what the code of a calculator raises.
    """
    graph_config, base_path = _read_graph(config, files)
    graph = validate(graph_config, base_path)
    check_model_folders(graph, base_path, files)
    return CheckedModel(config, graph, base_path, _num_bytes(base_path))


def find_problem(config: ModelConfig) -> str | None:
    """What `server --check` says is wrong with a model; None for one that can be loaded.

    Reads the graph and the model's files without compiling the model, which may take seconds.
    """
    try:
        check_model(config, WatchedFiles()).check_files()
    except ServingError as error:
        return str(error)
    # Validation runs code of calculators: their options check themselves.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _num_bytes(folder: Path) -> int:
    try:
        files = [path for pattern in ("*", "*/*") for path in folder.glob(pattern)]
        return sum(path.stat().st_size for path in files if path.is_file())
    except OSError:  # a file that was deleted just now
        return 0


def _read_graph(config: ModelConfig, files: WatchedFiles) -> tuple[GraphConfig, Path]:
    """The graph, and the folder that its paths are relative to. Raises ServingError."""
    if config.model_folder is not None:
        files.add(config.model_folder)
        return classic_graph(config), config.model_folder
    for candidate in config.graph_candidates():
        files.add(candidate)
    path = config.require_graph()
    if config.classic.options:
        raise ModelLoadError(f"options is for a model without a graph; set them in {path}")
    graph_config = load_graph_config(path)
    for node in graph_config.nodes:
        file = calculator_file(node.calculator_name, path.parent)
        if file is not None:
            files.add(file)
    return with_tensor_borders(graph_config), path.parent
