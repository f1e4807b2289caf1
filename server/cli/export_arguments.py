"""How to export a model before it is served, as the command line says it.

The exporter runs as a process of its own: a server without its packages can do all the rest.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.cli.model_arguments import ModelArguments
from server.terminal.export_help import EXPORT_HELP, NO_VERIFY_HELP
from server.terminal.flag_parser import AddFlag, Switch

__all__ = ["ExportArguments", "add_export_flags"]


@dataclass(frozen=True, slots=True)
class ExportArguments:
    """`exporter_flags` go to `export_model` as they are; it checks their values."""

    exporter_flags: tuple[str, ...]
    overwrite_models: bool
    no_verify: bool
    dynamic_split_fuse: bool

    def command(self, models: ModelArguments) -> Sequence[str]:
        """The arguments of `export_model` that make `models.served_path`."""
        assert models.source_model is not None
        assert models.repository is not None
        return self._command(models, models.source_model, models.served_name, models.repository)

    def graph_command(self, models: ModelArguments) -> Sequence[str]:
        """The same to write graph.pbtxt into a folder that holds a model."""
        path = models.served_path
        return [*self._command(models, str(path), path.name, path.parent), "--no_verify"]

    def find_problem(self, models: ModelArguments, mode: str | None) -> str | None:
        """Why these flags cannot be used for those models."""
        if mode == "configure":
            is_usable = models.model_path is not None and models.source_model is None
            return None if is_usable else "--configure needs --model_path, and no --source_model"
        if models.source_model is not None:
            if models.config_path is not None or models.model_path is not None:
                return "--source_model cannot be used together with --config_path and --model_path"
            return None if models.repository else "--source_model needs --model_repository_path"
        if mode == "pull" or self.overwrite_models or not self.dynamic_split_fuse:
            return "--pull, --overwrite_models and --dynamic_split_fuse need --source_model"
        if self.exporter_flags:
            flag = self.exporter_flags[0].partition("=")[0]
            return f"{flag} is for an export: it needs --source_model or --configure"
        return None

    def _command(
        self, models: ModelArguments, source: str, name: str, repository: Path
    ) -> Sequence[str]:
        flags = [
            f"--source_model={source}",
            f"--model_name={name}",
            f"--model_repository_path={repository}",
            "--no_config_file",
            *self.exporter_flags,
        ]
        if models.target_device is not None:
            flags.append(f"--target_device={models.target_device}")
        if self.overwrite_models:
            flags.append("--overwrite_models")
        if self.no_verify:
            flags.append("--no_verify")
        if not self.dynamic_split_fuse:
            flags.append("--disable_dynamic_split_fuse")
        return flags


def add_export_flags(add: AddFlag) -> None:
    """Add the flags of an `ExportArguments`."""
    for flag, text in EXPORT_HELP.items():
        add(flag, action=_ExporterFlag, help=text)
    add(
        "--dynamic_split_fuse",
        action=Switch,
        default=True,
        metavar="BOOL",
        help="Split prompts into chunks and mix them with decoding (default: true).",
    )
    add("--no_verify", action=Switch, help=NO_VERIFY_HELP)
    add(
        "--overwrite_models",
        action=Switch,
        help="Export again, even if the model is in the repository. The old one stays until the "
        "new one is complete.",
    )


class _ExporterFlag(argparse.Action):
    """Keeps the flag as the exporter's own command line has it."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, "exporter_flags", default=(), metavar="VALUE", help=help)

    def __call__(self, _: object, namespace: argparse.Namespace, values: Any, *__: object) -> None:
        # With "=", because a value may begin with a dash.
        flag = f"{self.option_strings[0]}={values}"
        namespace.exporter_flags = (*namespace.exporter_flags, flag)
