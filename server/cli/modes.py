"""What `server` does before it serves, or instead of it: export, edit a config.json, list."""

from pathlib import Path

from server.cli.command_line import CONFIG_NAME, Arguments
from server.cli.export_flags import run_exporter
from server.errors import ConfigError
from server.graph import list_calculators, list_plugins
from server.models.config_file import ConfigFile
from server.models.model_repository import list_models

__all__ = ["is_done_without_serving"]


def is_done_without_serving(arguments: Arguments) -> bool:
    """Do what comes before serving or instead of it; whether that was all.

    Raises ConfigError.
    """
    if arguments.list_calculators:
        _print_calculators()
    elif arguments.list_models:
        assert arguments.repository is not None
        for name in list_models(arguments.repository):
            print(name)
    elif arguments.add_to_config or arguments.remove_from_config:
        _edit_config(arguments)
    elif arguments.configure or arguments.source_model is not None:
        run_exporter(arguments.exporter_arguments())
        return arguments.configure or arguments.pull
    else:
        return False
    return True


def _edit_config(arguments: Arguments) -> None:
    path = arguments.config_file
    file = ConfigFile(path / CONFIG_NAME if path.is_dir() else path)
    name = arguments.model_name
    assert name is not None
    try:
        if arguments.remove_from_config:
            file.remove(name)
            print(f"{name!r} is no longer listed in {file.path}")
        else:
            file.add(name, _existing_folder(arguments.served_path), arguments.entry_keys)
            print(f"{name!r} is listed in {file.path}")
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: {error.strerror}") from error


def _existing_folder(path: Path) -> Path:
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder; --model_path names another")
    return path


def _print_calculators() -> None:
    for plugins in (list_calculators(), list_plugins("server.output_parsers")):
        for name, description, origin in plugins:
            print(f"{name}\n    {description}\n    from {origin}")
