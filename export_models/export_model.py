"""`export_model <task> ...`: a Hugging Face model becomes one that the server serves.

The command line and the files are those of OVMS's script of the same name. What takes time is
imported after Ctrl-C got its handler.
"""

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from server.terminal.flag_parser import FlagParser

if not __package__:  # run as a file: Python put its folder on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

__all__ = ["main"]

DESCRIPTION = """Make a Hugging Face model one that the server serves.

Tasks: {names}. export_model TASK --help shows the flags of a task.

Example:
  export_model text_generation --source_model Qwen/Qwen3-8B --weight-format int4
"""
# The modules of this package with these names.
TASKS = (
    "text_generation",
    "embeddings_ov",
    "rerank_ov",
    "image_generation",
    "text2speech",
    "speech2text",
)


# OVMS's layouts of several models, which it gave up.
OLDER_TASKS = ("embeddings", "rerank")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        # A handler that raises would be printed from the middle of an import.
        signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))
    task, parser, values = _parse(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGINT, before)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _stop)
    return _run(task, parser, values)


def _run(task: ModuleType, parser: argparse.ArgumentParser, values: argparse.Namespace) -> int:
    from server.errors import ServingError

    try:
        task.run(parser, values)
    except ServingError as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        return _fail("interrupted; the unfinished export was removed", 130)
    return 0


def _parse(
    arguments: Sequence[str],
) -> tuple[ModuleType, argparse.ArgumentParser, argparse.Namespace]:
    """The task, its parser, and the values of its flags."""
    from export_models.arguments import make_parser

    tasks = {name: import_module(f"export_models.{name}") for name in TASKS}
    parsers = {}
    for name, module in tasks.items():
        usage = f"export_model {name} --source_model MODEL [FLAGS]"
        parsers[name] = make_parser(f"export_model {name}", usage, f"{_summary(module.__doc__)}\n")
        module.add_flags(parsers[name])
    task, *flags = arguments or [""]
    if task not in tasks:
        _answer_without_task(arguments, parsers)
    values, leftovers = parsers[task].parse_known_args(flags)
    parsers[task].refuse_unknown(leftovers)
    return tasks[task], parsers[task], values


def _answer_without_task(arguments: Sequence[str], parsers: Mapping[str, "FlagParser"]) -> NoReturn:
    from export_models.arguments import make_parser
    from server.terminal.completion import SHELLS, completion_script
    from server.terminal.flag_parser import HelpFlag

    names = ", ".join(parsers)
    description = DESCRIPTION.format(names=names)
    parser = make_parser("export_model", "export_model TASK [FLAGS]", description)
    add = parser.add_section("flags", "Flags")
    add("--completion", choices=SHELLS, help="Print a script that completes this command with Tab.")
    add("-h", "--help", action=HelpFlag, help="Show this help.")
    values, leftovers = parser.parse_known_args(arguments)
    if values.completion is not None:
        print(completion_script(values.completion, parser, parsers))
        parser.exit()
    task = leftovers[0] if leftovers else ""
    if task in OLDER_TASKS:
        parser.error(f"OVMS's older task {task!r} is not here; use {task}_ov")
    if not task or task.startswith("-"):
        parser.refuse_unknown(leftovers)
        parser.error(f"no task is given; possible: {names}")
    parser.error(f"unknown task {task!r}; possible: {names}")


def _summary(docstring: str | None) -> str:
    return (docstring or "").partition("\n")[0]


def _stop(signal_number: int, frame: FrameType | None) -> NoReturn:
    """Unwind as for Ctrl-C, so that the unfinished export is removed."""
    raise SystemExit(128 + signal_number)


def _fail(message: str, exit_code: int) -> int:
    print(f"export_model: error: {' '.join(message.split())}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
