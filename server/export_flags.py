"""The flags that export a model before it is served, and the exporter, a command of its own.

It runs as a process, so that a server without the packages of the export can do all the rest.
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from server.errors import ConfigError
from server.flag_values import boolean

__all__ = ["add_export_flags", "run_exporter"]

TASKS = ("text_generation",)
# The exporter has them by the same name and checks their values.
SAME_FLAGS = (
    "--weight-format",
    "--extra_quantization_params",
    "--pipeline_type",
    "--kv_cache_precision",
    "--enable_prefix_caching",
    "--max_num_batched_tokens",
    "--max_num_seqs",
    "--cache_size",
    "--tool_parser",
    "--reasoning_parser",
    "--enable_tool_guided_generation",
    "--max_prompt_len",
)
STOP_TIMEOUT_S = 30.0


def add_export_flags(add: Callable[..., object]) -> None:
    """Add the flags that say how a model is exported, and what its graph.pbtxt has."""
    for flag in SAME_FLAGS:
        add(flag, action=_ExporterFlag, help="see export_model text_generation --help")
    add("--task", choices=TASKS, default=TASKS[0], help=f"(default: {TASKS[0]})")
    add(
        "--dynamic_split_fuse",
        type=boolean,
        default=True,
        metavar="BOOL",
        help="cut prompts into chunks and mix them with decoding (default: true)",
    )


class _ExporterFlag(argparse.Action):
    """Keeps the flag as the exporter's own command line has it."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, "exporter_flags", default=(), metavar="VALUE", help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        # With "=", because a value may begin with a dash.
        namespace.exporter_flags = (*namespace.exporter_flags, f"{option_string}={values}")


def run_exporter(arguments: Sequence[str]) -> None:
    """Run `export_model text_generation` to its end. Raises ConfigError where it fails."""
    command = [sys.executable, "-m", "export_models.export_model", TASKS[0], *arguments]
    with _leaving_at_signals():
        # Standard output is for the line that says where the server is.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        try:
            status = process.wait()
        except SystemExit:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)
            raise
    if status:
        raise ConfigError("the model could not be exported; the lines above say why")


@contextmanager
def _leaving_at_signals() -> Iterator[None]:
    def leave(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
