"""The command line of `server`."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from server.api.settings import CorsSettings, HttpSettings, KeyScope
from server.cli.flags import LOG_LEVELS, add_flags
from server.cli.ovms_flags import add_ovms_flags
from server.errors import ConfigError, did_you_mean
from server.models.config import ServerConfig, load_config, single_model_config

__all__ = ["CONFIG_NAME", "LOG_LEVELS", "Arguments", "parse_arguments"]

EX_USAGE = 64
REPOSITORY_VARIABLE = "OVMS_MODEL_REPOSITORY_PATH"
KEY_VARIABLE = "API_KEY"
DEFAULT_CACHE_DIR = Path("/opt/cache")
CONFIG_NAME = "config.json"
MODES = (
    "check",
    "list_calculators",
    "list_models",
    "add_to_config",
    "remove_from_config",
    "configure",
    "pull",
)


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the command line said, and the environment where it is silent."""

    config_path: Path | None
    model_name: str | None
    model_path: Path | None
    model_repository_path: Path | None
    target_device: str | None
    model_keys: Mapping[str, Any]
    rest_port: int
    rest_bind_address: tuple[str, ...]
    log_level: str
    log_path: Path | None
    drain_timeout_s: float
    file_system_poll_wait_seconds: float
    cache_dir: Path | None
    no_auto_tune: bool
    max_request_bytes: int
    request_timeout_s: float
    api_key_file: Path | None
    api_key_protects: str
    allowed_origins: tuple[str, ...]
    allowed_methods: tuple[str, ...]
    allowed_headers: tuple[str, ...]
    allow_credentials: bool
    source_model: str | None
    task: str
    overwrite_models: bool
    dynamic_split_fuse: bool
    exporter_flags: tuple[str, ...]
    pull: bool
    configure: bool
    check: bool
    list_calculators: bool
    list_models: bool
    add_to_config: bool
    remove_from_config: bool
    ignored_flags: tuple[str, ...]

    def load_config(self) -> ServerConfig:
        """The models to serve. Raises ConfigError."""
        if self.model_name is not None or self.source_model is not None:
            keys = {} if self.source_model is not None else self.entry_keys
            return single_model_config(self.served_name, self.served_path, keys)
        return load_config(self.config_file)

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
        """What the flags say of a model without a graph, as keys of an entry in config.json."""
        device = {} if self.target_device is None else {"target_device": self.target_device}
        return {**self.model_keys, **device}

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

    def exporter_arguments(self) -> Sequence[str]:
        """What the exporter is told to bring about `served_path`, or its graph.pbtxt alone."""
        path = self.served_path
        repository = path.parent if self.configure else self.repository
        flags = [
            f"--source_model={path if self.configure else self.source_model}",
            f"--model_name={path.name if self.configure else self.served_name}",
            f"--model_repository_path={repository}",
            "--no_config_file",
            *self.exporter_flags,
        ]
        if self.target_device is not None:
            flags.append(f"--target_device={self.target_device}")
        if self.overwrite_models:
            flags.append("--overwrite_models")
        if not self.dynamic_split_fuse:
            flags.append("--disable_dynamic_split_fuse")
        return flags

    def http_settings(self) -> HttpSettings:
        """Raises ConfigError where the API key cannot be read."""
        return HttpSettings(
            api_key=self._api_key(),
            key_scope=KeyScope(self.api_key_protects),
            cors=CorsSettings(
                self.allowed_origins,
                self.allowed_methods,
                self.allowed_headers,
                self.allow_credentials,
            ),
            max_request_bytes=self.max_request_bytes,
            request_timeout_s=self.request_timeout_s,
        )

    def make_cache_dir(self) -> Path | None:
        """The folder for compiled models, if there is to be one. Raises ConfigError."""
        if self.cache_dir is None:
            return DEFAULT_CACHE_DIR if os.access(DEFAULT_CACHE_DIR, os.W_OK) else None
        try:
            self.cache_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--cache_dir {self.cache_dir}: {error.strerror}") from error
        if not os.access(self.cache_dir, os.W_OK):
            raise ConfigError(f"--cache_dir {self.cache_dir}: cannot be written to")
        return self.cache_dir.absolute()

    def _api_key(self) -> str | None:
        if self.api_key_file is None:
            return os.environ.get(KEY_VARIABLE, "").strip() or None
        where = f"--api_key_file {self.api_key_file}"
        try:
            with self.api_key_file.open(encoding="utf-8") as file:
                key = file.readline(10_000).strip()
        except OSError as error:
            raise ConfigError(f"{where}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{where}: not UTF-8") from error
        if not key:
            raise ConfigError(f"{where}: the first line holds no key")
        return key


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EX_USAGE, f"{self.prog}: {message}\nTry '{self.prog} --help'.\n")


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Parse the command line; leaves the process with status 64 where it cannot be used."""
    parser = _Parser(
        prog="server",
        description="Serve the models of a config.json by their graphs.",
        allow_abbrev=False,
    )
    add_flags(parser)
    add_ovms_flags(parser)
    namespace, unknown = parser.parse_known_args(argv)
    if unknown:
        name = unknown[0].partition("=")[0]
        flags = [
            flag
            for action in parser._actions
            if action.help is not argparse.SUPPRESS
            for flag in action.option_strings
        ]
        parser.error(f"unknown argument {unknown[0]}{did_you_mean(name, flags)}")
    arguments = Arguments(**vars(namespace))
    problem = _find_problem(arguments)
    if problem is not None:
        parser.error(problem)
    return arguments


def _find_problem(arguments: Arguments) -> str | None:
    """Why the flags cannot be used together."""
    modes = [f"--{mode}" for mode in MODES if getattr(arguments, mode)]
    if len(modes) > 1:
        return f"{' and '.join(modes)} cannot be used together"
    if arguments.allow_credentials and "*" in (
        *arguments.allowed_origins,
        *arguments.allowed_methods,
        *arguments.allowed_headers,
    ):
        return (
            "--allow_credentials needs names in --allowed_origins, --allowed_methods and "
            "--allowed_headers: to browsers * does not stand for all where credentials are sent"
        )
    problem = _find_export_problem(arguments)
    problem = problem or _find_model_problem(arguments)
    if problem is not None or arguments.list_calculators:
        return problem
    if arguments.list_models:
        return None if arguments.repository else "--list_models needs --model_repository_path"
    if arguments.add_to_config or arguments.remove_from_config:
        return _find_editing_problem(arguments, modes[0])
    return _find_source_problem(arguments)


def _find_export_problem(arguments: Arguments) -> str | None:
    if arguments.configure:
        is_usable = arguments.model_path is not None and arguments.source_model is None
        return None if is_usable else "--configure needs --model_path, and no --source_model"
    if arguments.source_model is not None:
        if arguments.config_path is not None or arguments.model_path is not None:
            return "--source_model cannot be used together with --config_path and --model_path"
        return None if arguments.repository else "--source_model needs --model_repository_path"
    if arguments.pull or arguments.overwrite_models or not arguments.dynamic_split_fuse:
        return "--pull, --overwrite_models and --dynamic_split_fuse need --source_model"
    if arguments.exporter_flags:
        flag = arguments.exporter_flags[0].partition("=")[0]
        return f"{flag} is for an export: it needs --source_model or --configure"
    return None


def _find_model_problem(arguments: Arguments) -> str | None:
    is_single = arguments.model_name is not None and arguments.source_model is None
    if is_single and not arguments.remove_from_config:
        return None
    flags = [f"--{key}" for key in arguments.model_keys]
    if arguments.target_device is not None and not (arguments.source_model or arguments.configure):
        flags.append("--target_device")
    if not flags:
        return None
    problem = f"{flags[0]} is for a single model without a graph"
    return f"{problem}: it needs --model_name and --model_path"


def _find_editing_problem(arguments: Arguments, mode: str) -> str | None:
    if not arguments.model_name:
        return f"{mode} needs --model_name"
    if arguments.config_path is None and arguments.repository is None:
        return f"{mode} needs --config_path, or --model_repository_path with a {CONFIG_NAME}"
    if arguments.add_to_config and arguments.model_path is None and arguments.repository is None:
        return f"{mode} needs --model_path, or --model_repository_path"
    return None


def _find_source_problem(arguments: Arguments) -> str | None:
    has_name, has_path = arguments.model_name is not None, arguments.model_path is not None
    if arguments.config_path is not None and (has_name or has_path):
        return "--config_path cannot be used together with --model_name and --model_path"
    if has_path and not has_name and not arguments.configure:
        return "--model_name and --model_path are only useful together"
    if has_name and not has_path and arguments.repository is None:
        return "--model_name and --model_path are only useful together"
    is_named = arguments.config_path or has_name or has_path or arguments.source_model is not None
    if not is_named and arguments.repository is None:
        return "nothing to serve: give --config_path, or --model_name and --model_path"
    return None
