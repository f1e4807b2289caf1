"""The flags of `server`, in groups."""

import argparse
from collections.abc import Callable
from pathlib import Path

from server.api.settings import HttpSettings, KeyScope
from server.cli.export_flags import add_export_flags
from server.cli.flag_values import addresses, at_least, boolean, names, origins, port, seconds
from server.cli.model_flags import add_model_flags
from server.version import version

__all__ = ["LOG_LEVELS", "add_flags"]

LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR")
Add = Callable[..., object]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add all that the server understands."""
    _add_source(parser.add_argument_group("what to serve").add_argument)
    add_model_flags(parser.add_argument_group("for a single model without a graph").add_argument)
    _add_serving(parser.add_argument_group("how to serve").add_argument)
    _add_access(parser.add_argument_group("who may ask").add_argument)
    _add_export(parser.add_argument_group("to export a model before it is served").add_argument)
    _add_other_modes(parser.add_argument_group("instead of serving").add_argument)


def _add_switch(add: Add, flag: str, help_text: str) -> None:
    """Add a flag that is true where it has no value."""
    add(flag, type=boolean, nargs="?", const=True, default=False, metavar="BOOL", help=help_text)


def _add_source(add: Add) -> None:
    add("--config_path", type=Path, help="config.json, config.yaml or its folder")
    add("--model_name", help="name of a single model to serve without a file")
    add("--model_path", type=Path, help="its folder, which holds graph.pbtxt or an exported LLM")
    add(
        "--model_repository_path",
        type=Path,
        help="folder of models: --model_path starts there, and is the model's name by default "
        "(default: OVMS_MODEL_REPOSITORY_PATH of the environment, which also stands for its "
        "config.json where nothing else says what to serve)",
    )
    add("--target_device", help="OpenVINO device of a model that is exported or has no graph")


def _add_serving(add: Add) -> None:
    add("--rest_port", type=port, default=8000, help="0 takes a free port (default: 8000)")
    add(
        "--rest_bind_address",
        type=addresses,
        default=("127.0.0.1",),
        help="addresses to listen on, with commas between; 0.0.0.0 opens the server to the network "
        "(default: 127.0.0.1)",
    )
    add("--log_level", type=str.upper, choices=LOG_LEVELS, default="INFO", help="(default: INFO)")
    add("--log_path", type=Path, help="file to which the log is added, beside standard error")
    add(
        "--drain_timeout_s",
        type=seconds,
        default=30.0,
        help="how long requests may go on after a signal to stop, or on a model that was replaced "
        "(default: 30)",
    )
    add(
        "--file_system_poll_wait_seconds",
        type=seconds,
        default=1.0,
        help="how often to look for changes of the configuration and the models; 0 is never "
        "(default: 1)",
    )
    add(
        "--cache_dir",
        type=Path,
        help="folder for compiled models, for nodes whose plugin_config has no CACHE_DIR; LLMs on "
        "a CPU cannot be kept (default: /opt/cache if it is there)",
    )
    _add_switch(
        add,
        "--no_auto_tune",
        "do not measure at the first load of an LLM which of the properties that its plugin_config "
        "leaves open are fastest on this machine; nor use what was found before",
    )
    add(
        "--max_request_bytes",
        type=at_least(1),
        default=HttpSettings().max_request_bytes,
        help="largest body of a request (default: 64 MiB)",
    )
    add(
        "--request_timeout_s",
        type=seconds,
        default=0.0,
        help="longest time from a request's headers to the end of its answer; 0 is no limit "
        "(default: 0)",
    )


def _add_access(add: Add) -> None:
    add(
        "--api_key_file",
        type=Path,
        help="file with the API key in its first line (default: API_KEY of the environment; "
        "without both, no key is needed)",
    )
    add(
        "--api_key_protects",
        choices=[str(scope) for scope in KeyScope],
        default=str(KeyScope.CHANGES),
        help="what needs the key: changes is all but GET (default: changes)",
    )
    add(
        "--allowed_origins",
        type=origins,
        default=("*",),
        help="origins whose pages may use the server from a browser, with commas between "
        "(default: *)",
    )
    add("--allowed_methods", type=names, default=("*",), help="methods they may use (default: *)")
    add("--allowed_headers", type=names, default=("*",), help="headers they may send (default: *)")
    _add_switch(
        add,
        "--allow_credentials",
        "let them send cookies and the like; the three flags above then need names",
    )


def _add_export(add: Add) -> None:
    add(
        "--source_model",
        help="a Hugging Face model id, or a folder with such a model or with an OpenVINO model; "
        "what is made of it comes into --model_repository_path",
    )
    _add_switch(add, "--overwrite_models", "export again what is in the repository already")
    _add_switch(add, "--pull", "export, and do not serve")
    _add_switch(add, "--configure", "write a graph.pbtxt into --model_path, and do not serve")
    add_export_flags(add)


def _add_other_modes(add: Add) -> None:
    add(
        "--check", action="store_true", help="prove the configuration and every graph, load nothing"
    )
    add("--list_calculators", action="store_true", help="what a graph can use")
    _add_switch(add, "--list_models", "the folders below --model_repository_path that hold a model")
    _add_switch(add, "--add_to_config", "list the model of --model_name and --model_path in a file")
    _add_switch(add, "--remove_from_config", "take the model of --model_name out of a file")
    add("--version", action="version", version=f"%(prog)s {version()}")
