"""The flags of OpenVINO Model Server that have no effect here.

A start command that works there must start here too. A flag without influence on answers gives a
warning. A flag without which answers would be wrong is refused, with the reason.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from server.terminal.flag_parser import AddFlag, Switch

__all__ = ["add_ovms_flags"]

NO_GRPC_THREADS = "one event loop takes any number of calls"
NO_FETCHING = "no media is fetched or read here"
IGNORED = {
    "--grpc_workers": NO_GRPC_THREADS,
    "--grpc_max_threads": NO_GRPC_THREADS,
    "--rest_workers": "one event loop takes any number of requests; max_num_seqs of a graph limits "
    "how many are computed at once",
    "--verbose_response": "answers have no such part",
    "--trace_path": "traces go to --otlp_traces_endpoint; --log_level TRACE logs the most",
    "--cpu_extension": "OpenVINO loads no extensions here; a model that needs one fails to load",
    "--custom_node_resources_cleaner_interval_seconds": "there are no custom node libraries",
    "--allowed_media_domains": NO_FETCHING,
    "--allowed_local_media_path": NO_FETCHING,
    "--disable_input_count_validation": "a request must have all inputs of its model",
    "--model_distribution_policy": "HETERO devices always split a model into a pipeline",
}
IGNORED_SWITCHES = ("--verbose_response", "--disable_input_count_validation")

NO_PREPROCESSING = "tensors enter the model unchanged; a calculator can change them"
REFUSED = {
    "--mean": NO_PREPROCESSING,
    "--scale": NO_PREPROCESSING,
    "--color_format": NO_PREPROCESSING,
    "--precision": NO_PREPROCESSING,
    "--gguf_filename": "GGUF files cannot be exported; name the Hugging Face model they came from",
    "--max_length": "--truncate cuts texts at the length that the model allows",
}


def add_ovms_flags(add: AddFlag) -> None:
    """Add them; those that are refused are not in the help."""
    for flag, reason in IGNORED.items():
        action = _IgnoredSwitch if flag in IGNORED_SWITCHES else _IgnoredFlag
        add(flag, action=action, help=f"No effect: {reason}.")
    for flag, reason in REFUSED.items():
        add(flag, action=_RefusedFlag, reason=reason)


def _warn(namespace: argparse.Namespace, flag: argparse.Action) -> None:
    reason = (flag.help or "").removeprefix("No effect: ").rstrip(".")
    line = f"{flag.option_strings[0]} has no effect: {reason}"
    namespace.warnings = (*namespace.warnings, line)


class _IgnoredFlag(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, "warnings", default=(), help=help, metavar="VALUE")

    def __call__(self, _: object, namespace: argparse.Namespace, values: Any, *__: object) -> None:
        _warn(namespace, self)


class _IgnoredSwitch(Switch):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, "warnings", default=(), help=help)

    def __call__(self, _: object, namespace: argparse.Namespace, values: Any, *__: object) -> None:
        if values:
            _warn(namespace, self)


class _RefusedFlag(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, reason: str) -> None:
        self._reason = reason
        super().__init__(
            option_strings, argparse.SUPPRESS, nargs="?", help=argparse.SUPPRESS, metavar="VALUE"
        )

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error(f"{self.option_strings[0]} of OVMS cannot be used here: {self._reason}")
