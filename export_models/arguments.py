"""The flags of every task: OVMS's, with the same names and defaults."""

import argparse
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from export_models.quantization.weight_formats import WEIGHT_FORMATS
from server.terminal.export_help import EXPORT_HELP, NO_VERIFY_HELP, TASK_HELP
from server.terminal.flag_parser import AddFlag, FlagParser, HelpFlag, pick
from server.terminal.flag_values import at_least, device

__all__ = [
    "CommonOptions",
    "UnsupportedFlag",
    "add_common_flags",
    "add_num_streams",
    "common_options",
    "make_parser",
]

EX_USAGE = 2


def make_parser(prog: str, usage: str, description: str) -> FlagParser:
    """A parser whose errors end the process with status 2."""
    return FlagParser(prog=prog, usage=usage, description=description, usage_status=EX_USAGE)


class UnsupportedFlag(argparse.Action):
    """A flag of OVMS that cannot be honoured: refused by name, never ignored."""

    def __init__(self, option_strings: list[str], dest: str, reason: str) -> None:
        self._reason = reason
        super().__init__(option_strings, argparse.SUPPRESS, nargs="?", help=argparse.SUPPRESS)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        parser.error(f"{self.option_strings[0]} is not supported yet: {self._reason}")


@dataclass(frozen=True)
class CommonOptions:
    """The values of the flags that every task has; see `add_common_flags`."""

    source_model: str
    model_repository_path: Path
    model_name: str | None
    weight_format: str | None
    config_file_path: Path
    no_config_file: bool
    overwrite_models: bool
    no_verify: bool
    target_device: str
    ov_cache_dir: str | None
    extra_quantization_params: tuple[str, ...]
    plugin_config: Mapping[str, object]
    trust_remote_code: bool
    verbose: bool


def add_common_flags(parser: FlagParser) -> None:
    """Add the flags of `CommonOptions`."""
    _add_places(parser)
    _add_conversion_flags(parser)
    _add_serving_flags(parser)


def _add_places(parser: FlagParser) -> None:
    add = parser.add_section("places", "What to export, and where to")
    add(
        "--source_model",
        metavar="MODEL",
        help="Model to export: a Hugging Face id, a folder with a Hugging Face model, or a folder "
        "with an OpenVINO model, which is used where it is.",
    )
    add(
        "--model_repository_path",
        type=Path,
        default=Path("models"),
        metavar="FOLDER",
        help="Folder of the exported models; it is made if it is missing (default: models).",
    )
    add(
        "--model_name",
        metavar="NAME",
        help="Name in requests, and sub-folder of the repository; it may contain '/' (default: "
        "the Hugging Face id, or the name of the source folder).",
    )
    add(
        "--config_file_path",
        type=Path,
        default=Path("config.json"),
        metavar="FILE",
        help="File that lists the models to serve. The model is added to it (default: "
        "config.json).",
    )
    add("--no_config_file", action="store_true", help="Do not add the model to any file.")
    add(
        "--overwrite_models",
        action="store_true",
        help="Convert again even if the model exists. The old one stays until the new one is "
        "complete.",
    )
    add(
        "--no_verify",
        action="store_true",
        help=NO_VERIFY_HELP,
    )
    add("--verbose", action="store_true", help="Show what the converter prints.")
    add("-h", "--help", action=HelpFlag, help="Show this help.")


def _add_conversion_flags(parser: FlagParser) -> None:
    add = parser.add_section("conversion", "How to convert it")
    add("--weight-format", choices=WEIGHT_FORMATS, help=EXPORT_HELP["--weight-format"])
    add(
        "--extra_quantization_params",
        type=_words,
        default=(),
        metavar="FLAGS",
        help=EXPORT_HELP["--extra_quantization_params"],
    )
    add(
        "--trust_remote_code",
        action="store_true",
        help="Run Python code that comes with the source model. Some models need it. The code can "
        "do whatever you can (OVMS's script always allows it).",
    )


def _add_serving_flags(parser: FlagParser) -> None:
    add = parser.add_section("device", "Device and its properties, for graph.pbtxt")
    add(
        "--target_device",
        type=device,
        default="CPU",
        metavar="DEVICE",
        help="Device to run on (default: CPU).",
    )
    add(
        "--ov_cache_dir",
        metavar="FOLDER",
        help="Folder in which the server keeps compiled models.",
    )
    add(
        "--plugin_config",
        type=_properties,
        default={},
        metavar="JSON",
        help="OpenVINO properties. They take precedence over those that the export chooses.",
    )


def add_num_streams(add: AddFlag, default: int, meaning: str) -> None:
    """Add the flag --num_streams; the least value is the default."""
    add(
        "--num_streams",
        type=at_least(default),
        default=default,
        metavar="NUMBER",
        help=f"{TASK_HELP['--num_streams']} {meaning} (default: {default}).",
    )


def common_options(parser: FlagParser, values: argparse.Namespace) -> CommonOptions:
    """The values of the common flags."""
    if not values.source_model:
        parser.error("--source_model is missing: what should be exported?")
    return pick(CommonOptions, values)


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def _properties(text: str) -> dict[str, object]:
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"must be a JSON object, found {text!r}")
    for key, value in found.items():
        if not isinstance(value, str | int | float | bool):
            raise argparse.ArgumentTypeError(
                f"{key} must be a string, a number or a boolean, found {json.dumps(value)}"
            )
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")
