"""The command line: Model Server's flags, by the same names and with the same defaults."""

import argparse
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from export_models.quantization.weight_formats import WEIGHT_FORMATS
from server.errors import did_you_mean

__all__ = [
    "CommonOptions",
    "Parser",
    "RefusedFlag",
    "add_common_flags",
    "at_least",
    "common_options",
    "parse_switch",
]


# As many as every 64-bit field of graph.pbtxt can hold.
MAX_DIGITS = 18


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and names the close flags where one is unknown."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (all flags: {self.prog} --help)\n")

    def refuse_unknown(self, arguments: Sequence[str]) -> None:
        """End the program if any argument is left over."""
        flags = [
            flag
            for action in self._actions
            if action.help is not argparse.SUPPRESS
            for flag in action.option_strings
        ]
        for argument in arguments:
            flag = argument.partition("=")[0]
            if flag.startswith("-"):
                self.error(f"unknown flag {flag}{did_you_mean(flag, flags)}")
        if arguments:
            self.error(f"unexpected argument {arguments[0]!r}")


class RefusedFlag(argparse.Action):
    """A flag of Model Server that this project does not have: refused by name, never ignored."""

    def __init__(
        self, option_strings: Sequence[str], dest: str, reason: str, **kwargs: Any
    ) -> None:
        self._reason = reason
        super().__init__(option_strings, argparse.SUPPRESS, nargs="?", help=argparse.SUPPRESS)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: object,
        values: object,
        flag: str | None = None,
    ) -> NoReturn:
        parser.error(f"{flag} is not supported yet: {self._reason}")


@dataclass(frozen=True)
class CommonOptions:
    """What every task is told; see `add_common_flags`."""

    source_model: str
    model_repository_path: Path
    model_name: str | None
    weight_format: str | None
    config_file_path: Path
    no_config_file: bool
    overwrite_models: bool
    target_device: str
    ov_cache_dir: str | None
    extra_quantization_params: tuple[str, ...]
    plugin_config: Mapping[str, object]
    trust_remote_code: bool
    verbose: bool


def add_common_flags(parser: Parser) -> None:
    """The flags that all tasks share."""
    _add_places(parser)
    _add_conversion_flags(parser)
    _add_serving_flags(parser)
    parser.add_argument("--verbose", action="store_true", help="show what the converter prints")


def _add_places(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "--source_model",
        help="a Hugging Face model id, a folder with such a model, or a folder with an OpenVINO "
        "model, which is used where it is",
    )
    add(
        "--model_repository_path",
        type=Path,
        default=Path("models"),
        help="folder of the exported models; made if missing (default: models)",
    )
    add(
        "--model_name",
        help="name in requests and sub-folder of the repository, '/' allowed (default: the "
        "source's id, or the own name of a source folder)",
    )
    add(
        "--config_file_path",
        type=Path,
        default=Path("config.json"),
        help="file that lists the models to serve; made or added to (default: config.json)",
    )
    add("--no_config_file", action="store_true", help="do not list the model in any file")


def _add_conversion_flags(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "--weight-format",
        choices=WEIGHT_FORMATS,
        help="how the weights are stored (default: int8); int8 is int8_sym, one scale for each "
        "output channel, for a CPU with AMX, which runs that form faster, and else int8_asym; "
        "int4 is int4_sym for a CPU and else int4_asym, in groups of 128; "
        "without effect on a source that is an OpenVINO model",
    )
    add(
        "--overwrite_models",
        action="store_true",
        help="convert again where the model exists; the old one stays until the new is complete",
    )
    add(
        "--extra_quantization_params",
        type=_words,
        default=(),
        help="further flags for optimum-cli export openvino, in one string: '--sym --ratio 1.0'; "
        "they alone then say how the weights are stored",
    )
    add(
        "--trust_remote_code",
        action="store_true",
        help="run Python code that comes with the source model; some models need it, and it can do "
        "whatever you can (Model Server's script always allows it)",
    )


def _add_serving_flags(parser: Parser) -> None:
    add = parser.add_argument
    add("--target_device", type=_device, default="CPU", help="device to serve on (default: CPU)")
    add("--ov_cache_dir", help="folder in which the server caches compiled models")
    add(
        "--plugin_config",
        type=_properties,
        default={},
        metavar="JSON",
        help="OpenVINO properties for graph.pbtxt, which win over those that the export chooses",
    )


def common_options(parser: Parser, values: argparse.Namespace) -> CommonOptions:
    """The values of the common flags."""
    if not values.source_model:
        parser.error("--source_model is missing: what should be exported?")
    return CommonOptions(
        **{name: getattr(values, name) for name in CommonOptions.__dataclass_fields__}
    )


def at_least(minimum: int) -> Callable[[str], int]:
    """Parser of a whole number."""

    def parse(text: str) -> int:
        is_number = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
        if not is_number or int(text) < minimum:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {minimum}, found {text!r}"
            )
        return int(text)

    return parse


def parse_switch(text: str) -> bool:
    """`true` or `false`, which Model Server takes as a value."""
    values = {"true": True, "false": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"must be true or false, found {text!r}")
    return values[text.lower()]


def _device(text: str) -> str:
    if not text.isprintable() or not text:
        raise argparse.ArgumentTypeError(f"not a device: {text!r}")
    if "NPU" in text.upper():
        raise argparse.ArgumentTypeError("NPU is not supported yet: it has no paged attention")
    return text


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
    raise ValueError(f"{text} is no number")
