"""The command line of `server`."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from server.config import ServerConfig, load_config, single_model_config
from server.errors import did_you_mean
from server.version import version

__all__ = ["LOG_LEVELS", "Arguments", "parse_arguments"]

EX_USAGE = 64
LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the command line said."""

    config_path: Path | None
    model_name: str | None
    model_path: Path | None
    rest_port: int
    rest_bind_address: tuple[str, ...]
    log_level: str
    drain_timeout_s: float
    file_system_poll_wait_seconds: float
    check: bool
    list_calculators: bool

    def load_config(self) -> ServerConfig:
        """The models to serve. Raises ConfigError."""
        if self.config_path is not None:
            return load_config(self.config_path)
        assert self.model_name is not None
        assert self.model_path is not None
        return single_model_config(self.model_name, self.model_path)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EX_USAGE, f"{self.prog}: {message}\nTry '{self.prog} --help'.\n")


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Parse the command line; leaves the process with status 64 where it cannot be used."""
    parser = _parser()
    namespace, unknown = parser.parse_known_args(argv)
    if unknown:
        name = unknown[0].partition("=")[0]
        flags = [flag for action in parser._actions for flag in action.option_strings]
        parser.error(f"unknown argument {unknown[0]}{did_you_mean(name, flags)}")
    arguments = Arguments(**vars(namespace))
    if not arguments.list_calculators:
        _check_source(parser, arguments)
    return arguments


def _check_source(parser: argparse.ArgumentParser, arguments: Arguments) -> None:
    is_single = arguments.model_name is not None or arguments.model_path is not None
    if arguments.config_path is not None and is_single:
        parser.error("--config_path cannot be used together with --model_name and --model_path")
    if is_single and (arguments.model_name is None or arguments.model_path is None):
        parser.error("--model_name and --model_path are only useful together")
    if arguments.config_path is None and not is_single:
        parser.error("nothing to serve: give --config_path, or --model_name and --model_path")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="server",
        description="Serve the models of a config.json by their graphs.",
        allow_abbrev=False,
    )
    source = parser.add_argument_group("what to serve")
    source.add_argument("--config_path", type=Path, help="config.json, config.yaml or its folder")
    source.add_argument("--model_name", help="name of a single model to serve without a file")
    source.add_argument("--model_path", type=Path, help="its folder, which holds graph.pbtxt")
    server = parser.add_argument_group("how to serve")
    server.add_argument(
        "--rest_port", type=_port, default=8000, help="0 takes a free port (default: 8000)"
    )
    server.add_argument(
        "--rest_bind_address",
        type=_addresses,
        default=("127.0.0.1",),
        help="addresses to listen on, with commas between; 0.0.0.0 opens the server to the network "
        "(default: 127.0.0.1)",
    )
    server.add_argument(
        "--log_level", type=str.upper, choices=LOG_LEVELS, default="INFO", help="(default: INFO)"
    )
    server.add_argument(
        "--drain_timeout_s",
        type=_seconds,
        default=30.0,
        help="how long requests may go on after a signal to stop, or on a model that was replaced "
        "(default: 30)",
    )
    server.add_argument(
        "--file_system_poll_wait_seconds",
        type=_seconds,
        default=1.0,
        help="how often to look for changes of the configuration and the models; 0 is never "
        "(default: 1)",
    )
    other = parser.add_argument_group("instead of serving")
    other.add_argument(
        "--check", action="store_true", help="prove the configuration and every graph, load nothing"
    )
    other.add_argument("--list_calculators", action="store_true", help="what a graph can use")
    other.add_argument("--version", action="version", version=f"%(prog)s {version()}")
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; possible: 0 to 65535")
    return int(text)


def _addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(address.strip() for address in text.split(","))
    if not all(addresses):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty address")
    return addresses


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; possible: 0 to 86400 seconds")
    return seconds
