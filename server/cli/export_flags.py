"""The flags that export a model before it is served, and the exporter, a command of its own.

It runs as a process, so that a server without the packages of the export can do all the rest.
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from server.cli.flag_values import boolean
from server.errors import ConfigError

__all__ = ["add_export_flags", "run_exporter"]

TASKS = ("text_generation",)
# The exporter has them by the same name and checks their values.
SAME_FLAGS = (
    "--weight-format",
    "--extra_quantization_params",
    "--quant_mode",
    "--calibration_file",
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
POLL_S = 0.1


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
    """Run `export_model text_generation` to its end. Raises ConfigError where it fails.

    A signal ends the exporter, which removes what it has begun, and then this process.
    """
    command = [sys.executable, "-m", "export_models.export_model", TASKS[0], *arguments]
    with _noted_signals() as received:
        # Standard output is for the line that says where the server is.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        while process.poll() is None and not received:
            _wait(process, POLL_S)
        if received:
            _stop(process)
            raise SystemExit(128 + received[0])
    if process.returncode:
        raise ConfigError("the model could not be exported; the lines above say why")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    _wait(process, STOP_TIMEOUT_S)
    process.kill()
    process.wait()


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout_s)


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """The numbers of the signals that came; nothing is raised in the middle of anything."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
