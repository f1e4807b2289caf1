"""How to export a model before it is served, as the command line says it.

The exporter runs as a process of its own: a server without its packages can do all the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.cli.model_arguments import ModelArguments
from server.cli.task_flags import GRAPH_FLAGS, TaskFlags, add_task_flags, exporter_flags
from server.models.tasks import Task
from server.terminal.export_help import NO_VERIFY_HELP
from server.terminal.flag_parser import AddFlag, Switch

__all__ = ["ExportArguments", "add_export_flags"]

# Where a model without a graph is read, or noted: its flags have an effect.
GRAPH_MODES = (None, "check", "add_to_config")


@dataclass(frozen=True, slots=True)
class ExportArguments:
    """`task_flags` go to `export_model`; it checks their values."""

    task_flags: TaskFlags
    overwrite_models: bool
    no_verify: bool

    def command(self, models: ModelArguments, task: Task) -> Sequence[str]:
        """The arguments of `export_model` that make `models.served_path`. Raises ConfigError."""
        assert models.source_model is not None
        assert models.repository is not None
        name, repository = models.served_name, models.repository
        return self._command(models, task, models.source_model, name, repository)

    def graph_command(self, models: ModelArguments, task: Task) -> Sequence[str]:
        """The same to write graph.pbtxt into a folder that holds a model."""
        path = models.served_path
        command = self._command(models, task, str(path), path.name, path.parent)
        return [*command, "--no_verify"]

    def find_problem(self, models: ModelArguments, mode: str | None) -> str | None:
        """Why these flags cannot be used for those models."""
        if mode == "configure":
            is_usable = models.model_path is not None and models.source_model is None
            return None if is_usable else "--configure needs --model_path, and no --source_model"
        if models.source_model is not None:
            if models.config_path is not None or models.model_path is not None:
                return "--source_model cannot be used together with --config_path and --model_path"
            return None if models.repository else "--source_model needs --model_repository_path"
        if mode == "pull" or self.overwrite_models:
            return "--pull and --overwrite_models need --source_model"
        for flag, _ in self.task_flags:
            if flag not in GRAPH_FLAGS or mode not in GRAPH_MODES:
                return f"{flag} is for an export: it needs --source_model or --configure"
        return None

    def _command(
        self, models: ModelArguments, task: Task, source: str, name: str, repository: Path
    ) -> Sequence[str]:
        flags = [
            f"--source_model={source}",
            f"--model_name={name}",
            f"--model_repository_path={repository}",
            "--no_config_file",
            *exporter_flags(self.task_flags, task),
        ]
        if models.target_device is not None:
            flags.append(f"--target_device={models.target_device}")
        if self.overwrite_models:
            flags.append("--overwrite_models")
        if self.no_verify:
            flags.append("--no_verify")
        return flags


def add_export_flags(add: AddFlag) -> None:
    """Add the flags of an `ExportArguments`."""
    add_task_flags(add)
    add("--no_verify", action=Switch, help=NO_VERIFY_HELP)
    add(
        "--overwrite_models",
        action=Switch,
        help="Export again, even if the model is in the repository. The old one stays until the "
        "new one is complete.",
    )
