"""`server top`: its flags, and the screen that it draws again every second."""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from server.cli.access.api_keys import read_key
from server.cli.top.status_client import StatusClient, StatusError, UnreachableError
from server.cli.top.view import View
from server.errors import ServingError
from server.terminal.flag_parser import FlagParser, HelpFlag, Switch, pick
from server.terminal.text_width import fit

__all__ = ["make_parser", "run_top"]

EX_USAGE = 64
DEFAULT_URL = "http://127.0.0.1:8000"
INTERVAL_S = 1.0
# Two intervals of the server's history.
HISTORY_S = 11.0
DESCRIPTION = """Watch a running server in this terminal: models, load, tokens a second, latencies.

The screen is drawn again every second; Ctrl-C ends it. Where the output is no terminal, one table
is printed.

Columns:
  RUN, WAIT       sequences, or requests, that are worked on and that wait
  OUT/S, IN/S     tokens per second, generated and of prompts; REQ/S requests per second
  TTFT, ITL       time to the first token and between tokens, medians of the last minute
  KV, HIT         how full the KV cache is; prompt tokens that were found in the prefix cache
"""

HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
# The other screen, without a cursor; then back.
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


@dataclass(frozen=True, slots=True)
class TopArguments:
    """What the command line says."""

    url: str
    once: bool
    api_key_file: Path | None
    ssl_ca_certs: Path | None


def make_parser() -> FlagParser:
    """The parser of `server top`."""
    parser = FlagParser(
        prog="server top",
        usage="server top [FLAGS]",
        description=DESCRIPTION,
        usage_status=EX_USAGE,
    )
    add = parser.add_section("top", "Flags")
    add(
        "--url",
        default=DEFAULT_URL,
        metavar="URL",
        help=f"Address of the server (default: {DEFAULT_URL}).",
    )
    add("--once", action=Switch, help="Print one table, and leave.")
    add(
        "--api_key_file",
        type=Path,
        metavar="FILE",
        help="File of the server's API keys, of which the first is sent (default: the environment "
        "variable API_KEY).",
    )
    add(
        "--ssl_ca_certs",
        type=Path,
        metavar="FILE",
        help="Certificates to trust when the URL begins with https (default: the system's).",
    )
    add("-h", "--help", action=HelpFlag, help="Show this help.")
    return parser


def run_top(argv: Sequence[str]) -> int:
    """Show a server until the user leaves; returns the exit status."""
    parser = make_parser()
    namespace, leftovers = parser.parse_known_args(argv)
    parser.refuse_unknown(leftovers)
    arguments = pick(TopArguments, namespace)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _run(arguments)
    except ServingError as error:
        print(f"server top: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who reads our output has left; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _run(arguments: TopArguments) -> None:
    if sys.stdout is None:
        raise StatusError("there is no place for the table: standard output is closed")
    # A name of a model may have characters that the terminal's encoding lacks.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    key = read_key(arguments.api_key_file)
    client = StatusClient(arguments.url, key, arguments.ssl_ca_certs)
    has_screen = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if arguments.once or not has_screen:
        _print_once(client)
    else:
        with contextlib.suppress(KeyboardInterrupt), _screen():
            _watch(client)


def _print_once(client: StatusClient) -> None:
    # Its clock may be another one than ours.
    time_s = client.read()["time"]
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print("\n".join(View(client.url).lines(client.read(time_s - HISTORY_S), columns)), flush=True)


def _watch(client: StatusClient) -> NoReturn:
    view = View(client.url)
    while True:
        size = shutil.get_terminal_size()
        try:
            lines = view.lines(client.read(), size.columns, size.lines)
        except UnreachableError as error:
            # It may come back, with counters that begin again.
            view = View(client.url)
            lines = [fit(str(error), size.columns).rstrip(), "", "Trying again. Ctrl-C ends."]
        _draw(lines[: size.lines])
        time.sleep(INTERVAL_S)


def _draw(lines: Sequence[str]) -> None:
    """Write over what is there: a screen that is cleared first would flicker."""
    text = "\r\n".join(line + CLEAR_LINE for line in lines)
    sys.stdout.write(HOME + text + CLEAR_BELOW)
    sys.stdout.flush()


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    """The terminal's other screen; afterwards the terminal is as it was, however this ends."""
    signal.signal(signal.SIGTERM, _end)
    sys.stdout.write(ENTER)
    try:
        yield
    finally:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()


def _end(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
