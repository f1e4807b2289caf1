"""What `server` does before it serves, or instead of it: export, edit a config.json, list."""

from pathlib import Path

from server.cli.chat.chat_command import make_parser as make_chat_parser
from server.cli.check import check_models
from server.cli.command_line import CommandLine, make_parser
from server.cli.export_task import find_export_task
from server.cli.exporter import run_exporter, run_verification
from server.cli.model_arguments import CONFIG_NAME, ModelArguments
from server.cli.replicas.plan import describe_places, plan_places
from server.cli.top.top_command import make_parser as make_top_parser
from server.errors import ConfigError
from server.graph import list_calculators, list_plugins
from server.models.config_file import ConfigFile
from server.models.model_repository import list_models
from server.terminal.completion import completion_script

__all__ = ["run_mode"]


def run_mode(line: CommandLine) -> int | None:
    """Do what comes before serving or instead of it; returns the exit status if that was all.

    Raises ConfigError.
    """
    models = line.models
    match line.mode:
        case "completion":
            assert line.shell is not None
            print(
                completion_script(
                    line.shell,
                    make_parser(),
                    {"chat": make_chat_parser(), "top": make_top_parser()},
                )
            )
        case "list_calculators":
            _print_calculators()
        case "list_models":
            assert models.repository is not None
            for name in list_models(models.repository):
                print(name)
        case "add_to_config":
            _add_to_config(models)
        case "remove_from_config":
            _remove_from_config(models)
        case "configure":
            task = find_export_task(models)
            run_exporter(task.export, line.export.graph_command(models, task))
        case "check":
            for text in describe_places(plan_places(line.replicas.replicas)):
                print(text)
            return check_models(models.load_config())
        case "verify":
            return run_verification(models.served_path)
        case mode:
            if models.source_model is not None:
                task = find_export_task(models)
                run_exporter(task.export, line.export.command(models, task))
            return 0 if mode == "pull" else None
    return 0


def _add_to_config(models: ModelArguments) -> None:
    name, folder = models.model_name, models.served_path
    assert name is not None
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; --model_path names another")
    file = _configuration_of(models)
    try:
        group = {} if models.group_name is None else {"group_name": models.group_name}
        file.add(name, folder, {**models.entry_keys, **group})
    except OSError as error:
        raise _unusable(file, error) from error
    print(f"{name!r} is listed in {file.path}")


def _remove_from_config(models: ModelArguments) -> None:
    name = models.model_name
    assert name is not None
    file = _configuration_of(models)
    try:
        file.remove(name)
    except OSError as error:
        raise _unusable(file, error) from error
    print(f"{name!r} is no longer listed in {file.path}")


def _configuration_of(models: ModelArguments) -> ConfigFile:
    path = models.config_file
    return ConfigFile(path / CONFIG_NAME if path.is_dir() else path)


def _unusable(file: ConfigFile, error: OSError) -> ConfigError:
    return ConfigError(f"{error.filename or Path(file.path)}: {error.strerror}")


def _print_calculators() -> None:
    for plugins in (list_calculators(), list_plugins("server.output_parsers")):
        for name, description, origin in plugins:
            print(f"{name}\n    {description}\n    from {origin}")
