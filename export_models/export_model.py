"""`export_model <task> ...`: a Hugging Face model becomes one that the server serves.

The command line and the files are those of OpenVINO Model Server's script of the same name.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

if not __package__:  # run as a file: Python put its folder on the path, not the project's
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from export_models import text_generation
from export_models.arguments import Parser
from server.errors import ServingError

__all__ = ["main"]

TASKS = {"text_generation": text_generation}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser, values = _parse(sys.argv[1:] if arguments is None else arguments)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _stop)
    try:
        TASKS[values.task].run(parser, values)
    except ServingError as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        return _fail("interrupted; the unfinished export was removed", 130)
    return 0


def _parse(arguments: Sequence[str]) -> tuple[Parser, argparse.Namespace]:
    parser = Parser(prog="export_model", description=_summary(__doc__))
    subparsers = parser.add_subparsers(dest="task", metavar="task")
    parsers = {}
    for name, task in TASKS.items():
        parsers[name] = subparsers.add_parser(name, help=_summary(task.__doc__))
        task.add_flags(parsers[name])
    _check_task(parser, arguments)
    values, unknown = parser.parse_known_args(arguments)
    if values.task is None:
        parser.error(f"no task is given; possible: {', '.join(TASKS)}")
    parsers[values.task].refuse_unknown(unknown)
    return parsers[values.task], values


def _summary(docstring: str | None) -> str:
    return (docstring or "").partition("\n")[0]


def _check_task(parser: Parser, arguments: Sequence[str]) -> None:
    task = next((argument for argument in arguments if not argument.startswith("-")), None)
    if task is not None and task not in TASKS:
        parser.error(f"unknown task {task!r}; possible: {', '.join(TASKS)}")


def _stop(signal_number: int, frame: FrameType | None) -> NoReturn:
    """Unwind as for Ctrl-C, so that the unfinished export is removed."""
    raise SystemExit(128 + signal_number)


def _fail(message: str, exit_code: int) -> int:
    print(f"export_model: error: {' '.join(message.split())}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
