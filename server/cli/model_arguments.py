"""What to serve, as the command line says it."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from server.cli.task_flags import TaskFlags, graph_keys
from server.models.config import ServerConfig, load_config, single_model_config
from server.models.tasks import TASKS, task_named
from server.terminal.flag_parser import AddFlag

__all__ = ["CONFIG_NAME", "ModelArguments", "add_model_flags"]

REPOSITORY_VARIABLE = "OVMS_MODEL_REPOSITORY_PATH"
CONFIG_NAME = "config.json"

# Keys of an entry in config.json. server.models.classic_config checks the values.
CLASSIC_FLAGS = {
    "--batch_size": "Batch size of the model's inputs: 4, 1:4 or auto.",
    "--layout": 'Layout of the inputs: NHWC:NCHW, or {"input": "NHWC:NCHW"}.',
    "--max_batch_size": "Most rows of requests that run together, as one inference (default: 0, "
    "each on its own).",
    "--max_queue_delay_ms": "Milliseconds that a request waits for others to run together with.",
    "--model_version_policy": 'Versions to serve: {"latest": {"num_versions": 2}}, {"specific": '
    '{"versions": [1, 3]}} or {"all": {}}.',
    "--nireq": "Number of requests that run at the same time.",
    "--plugin_config": 'OpenVINO properties: {"NUM_STREAMS": 2}.',
    "--shape": 'Shape of the inputs: (1,3,224,224), or {"input": "(1,3,224,224)"}.',
}


LoraModules = Sequence[tuple[str, Path]]
"""Adapters: names and folders."""


@dataclass(frozen=True, slots=True)
class ModelArguments:
    """The models to serve: a configuration file, or one model.

    `model_keys` are keys of an entry in config.json, for a model without a graph. So is what
    `task_flags` say, unless the model is exported first.
    """

    config_path: Path | None = None
    model_name: str | None = None
    model_path: Path | None = None
    model_repository_path: Path | None = None
    source_model: str | None = None
    task: str | None = None
    target_device: str | None = None
    chat_template: Path | None = None
    lora_modules: LoraModules = ()
    group_name: str | None = None
    model_keys: Mapping[str, Any] | None = None
    task_flags: TaskFlags = ()

    def load_config(self) -> ServerConfig:
        """Read the configuration. Raises ConfigError."""
        if self.model_name is None and self.source_model is None:
            return load_config(self.config_file)
        keys = {} if self.source_model is not None else self.entry_keys
        config = single_model_config(self.served_name, self.served_path, keys)
        (model,) = config.models
        return replace(config, models=(replace(model, group_name=self.group_name or ""),))

    @property
    def repository(self) -> Path | None:
        """The folder of models."""
        variable = os.environ.get(REPOSITORY_VARIABLE)
        return self.model_repository_path or (Path(variable) if variable else None)

    @property
    def config_file(self) -> Path:
        """The configuration file that was named, or the repository's."""
        if self.config_path is not None:
            return self.config_path
        assert self.repository is not None
        return self.repository / CONFIG_NAME

    @property
    def entry_keys(self) -> Mapping[str, Any]:
        """What the flags say about a model without a graph, as keys of an entry in config.json.

        Raises ConfigError.
        """
        named = {"target_device": self.target_device, "task": self.task}
        given = {key: value for key, value in named.items() if value is not None}
        keys = {**(self.model_keys or {}), **given}
        if self.source_model is not None or not self.task_flags:
            return keys
        config = single_model_config(self.served_name, self.served_path)
        return graph_keys(self.task_flags, config, keys)

    @property
    def template_path(self) -> Path | None:
        """The chat template of the single model, absolute."""
        return None if self.chat_template is None else self.chat_template.absolute()

    @property
    def lora_sources(self) -> tuple[tuple[str, Path], ...]:
        """The adapters of the single model, with absolute paths."""
        return tuple((name, path.absolute()) for name, path in self.lora_modules)

    @property
    def served_name(self) -> str:
        """The name of the single model."""
        if self.model_name is not None:
            return self.model_name
        assert self.source_model is not None
        folder = Path(self.source_model).expanduser()
        return folder.resolve().name if folder.is_dir() else self.source_model

    @property
    def served_path(self) -> Path:
        """The folder of the single model."""
        if self.model_path is not None:
            return (self.model_repository_path or Path()) / self.model_path
        assert self.repository is not None
        return self.repository / self.served_name

    def find_problem(self) -> str | None:
        """Why these flags do not say what to serve."""
        has_name, has_path = self.model_name is not None, self.model_path is not None
        if self.config_path is not None and (has_name or has_path):
            return "--config_path cannot be used together with --model_name and --model_path"
        if has_path and not has_name:
            return "--model_path needs --model_name"
        if has_name and not has_path and self.repository is None:
            return "--model_name needs --model_path or --model_repository_path"
        is_single = has_name or self.source_model is not None
        problem = self._find_template_problem(is_single=is_single)
        problem = problem or self._find_adapter_problem(is_single=is_single)
        if problem is not None:
            return problem
        is_named = self.config_path or has_name or self.source_model is not None
        if not is_named and self.repository is None:
            return "nothing to serve; give MODEL or --config_path, for example: server models/m"
        return None

    def _find_adapter_problem(self, *, is_single: bool) -> str | None:
        if not self.lora_modules:
            return None
        if not is_single:
            return (
                "--lora-modules is for one model: it needs MODEL, or --model_name and "
                "--model_path. A model of a config.json has the option lora_adapters in its graph"
            )
        names = [name for name, _ in self.lora_modules]
        repeated = sorted({name for name in names if names.count(name) > 1})
        return f"--lora-modules: two adapters are called {repeated[0]!r}" if repeated else None

    def _find_template_problem(self, *, is_single: bool) -> str | None:
        if self.chat_template is None:
            return None
        if not is_single:
            return (
                "--chat_template is for one model: it needs MODEL, or --model_name and "
                "--model_path. A model of a config.json has the option chat_template in its graph"
            )
        if not self.chat_template.is_file():
            return f"--chat_template {self.chat_template}: no such file"
        return None


def add_model_flags(add: AddFlag) -> None:
    """Add the flags of a `ModelArguments`."""
    add(
        "--config_path",
        type=Path,
        metavar="FILE",
        help="Serve the models that this config.json or config.yaml lists. A folder that holds "
        "such a file works too.",
    )
    add(
        "--model_name",
        metavar="NAME",
        help="Name of the single model in requests. The default for MODEL is the name of its "
        "folder, or its Hugging Face id.",
    )
    add(
        "--model_path",
        type=Path,
        metavar="FOLDER",
        help="Folder of the single model, which --model_name names. It holds a graph.pbtxt or an "
        "OpenVINO model.",
    )
    add(
        "--model_repository_path",
        type=Path,
        metavar="FOLDER",
        help="Folder of models. --model_path is relative to it, and its default is the model's "
        "name; its config.json is served when nothing else says what to serve (default: the "
        f"environment variable {REPOSITORY_VARIABLE}).",
    )
    add(
        "--source_model",
        metavar="MODEL",
        help="Model to export into --model_repository_path before it is served: a Hugging Face id, "
        "a folder with a Hugging Face model, or a folder with an OpenVINO model.",
    )
    add(
        "--task",
        type=_task,
        metavar="TASK",
        help=f"What the single model is for: {', '.join(TASKS)} (default: what its files show).",
    )
    add(
        "--target_device",
        metavar="DEVICE",
        help="Device to run on, for example CPU or GPU (default: CPU). For a model that is "
        "exported or has no graph.pbtxt; a graph.pbtxt names the device itself.",
    )
    add(
        "--chat_template",
        type=Path,
        metavar="FILE",
        help="Jinja template that makes prompts of the single model's conversations, instead of "
        "the model's own.",
    )
    add(
        "--lora-modules",
        type=_lora_module,
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FOLDER",
        help="LoRA adapters of the single model, in PEFT's files: requests name them as models. "
        'Also as JSON: {"name": "a", "path": "loras/a"}.',
    )
    add(
        "--group_name",
        metavar="NAME",
        help="Group of the single model, or of the model that is added to a config.json: models of "
        "a group are loaded and unloaded together; those of the group permanent stay loaded.",
    )
    for flag, text in CLASSIC_FLAGS.items():
        add(flag, action=_ModelKey, help=f"{text} For a model without graph.pbtxt.")


def _task(text: str) -> str:
    try:
        return task_named(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _lora_module(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if text.lstrip().startswith("{"):
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fields = {}
        name, path = (str(fields.get(key) or "") for key in ("name", "path"))
    if not name or not path:
        raise argparse.ArgumentTypeError(
            f'{text!r} names no adapter; possible: NAME=FOLDER, {{"name": ..., "path": ...}}'
        )
    return name, Path(path)


class _ModelKey(argparse.Action):
    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        self._key = dest
        super().__init__(option_strings, "model_keys", metavar="VALUE", help=help)

    def __call__(self, _: object, namespace: argparse.Namespace, values: Any, *__: object) -> None:
        namespace.model_keys = {**(namespace.model_keys or {}), self._key: _value(values)}


def _value(text: str) -> object:
    """An object, a number, or the text itself."""
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
    return text
