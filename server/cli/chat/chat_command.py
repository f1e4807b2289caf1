"""`server chat`: its flags, the server it talks to, and how it ends."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from server.cli.access.api_keys import read_key
from server.cli.chat.client import ChatClient
from server.cli.chat.conversation import Conversation
from server.cli.chat.own_server import own_server
from server.cli.named_model import to_path
from server.errors import ChatError, ConfigError, ServingError, did_you_mean
from server.models.bundled import find_bundled_model
from server.terminal.flag_parser import FlagParser, HelpFlag, pick
from server.terminal.flag_values import number

__all__ = ["make_parser", "run_chat"]

EX_USAGE = 64
DEFAULT_URL = "http://127.0.0.1:8000"
DESCRIPTION = """Chat with a model in this terminal.

MODEL is the folder of a model, which is loaded for this chat, or the name of a model on the
running server at --url. Without MODEL, the first model of that server answers. tiny_chat, which
comes with this package, is loaded if no server on this machine has it.

Examples:
  server chat tiny_chat                     Chat with the model that comes with the package.
  server chat models/m                      Load the model in a folder and chat with it.
  server chat                               Chat with the server on this machine.
  server chat --url http://host:8000        Chat with a server elsewhere.
  server chat -q "What is a tensor?"        Ask one question.
  cat text | server chat                    Ask what comes from a pipe.
"""


@dataclass(frozen=True, slots=True)
class ChatArguments:
    """What the command line says."""

    url: str | None
    model: str | None
    api_key_file: Path | None
    ssl_ca_certs: Path | None
    system_prompt: str
    temperature: float | None
    quick: str | None


def make_parser() -> FlagParser:
    """The parser of `server chat`."""
    parser = FlagParser(
        prog="server chat",
        usage="server chat [MODEL] [FLAGS]",
        description=DESCRIPTION,
        usage_status=EX_USAGE,
    )
    add = parser.add_section("chat", "Flags")
    add("--url", metavar="URL", help=f"Address of a running server (default: {DEFAULT_URL}).")
    add("--model", metavar="NAME", help="Model to ask (default: the first of the server).")
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
    add(
        "--system_prompt",
        type=_utf8,
        default="",
        metavar="TEXT",
        help="System message of the conversation.",
    )
    add(
        "--temperature",
        type=number,
        metavar="NUMBER",
        help="How random answers are; 0 always takes the likeliest token (default: the model's).",
    )
    add("-q", "--quick", type=_utf8, metavar="TEXT", help="Ask this one question, and leave.")
    add("-h", "--help", action=HelpFlag, help="Show this help.")
    return parser


def run_chat(argv: Sequence[str]) -> int:
    """Chat until the user leaves; returns the exit status."""
    parser = make_parser()
    namespace, leftovers = parser.parse_known_args(argv)
    folder, arguments = _split_model(parser, pick(ChatArguments, namespace), leftovers)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with _server_url(folder, arguments) as url:
            return _chat(url, arguments)
    except ServingError as error:
        print(f"server chat: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who reads our output has left; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _split_model(
    parser: FlagParser, arguments: ChatArguments, leftovers: list[str]
) -> tuple[Path | None, ChatArguments]:
    """The folder that MODEL is, if it is one, and the arguments with MODEL in them if it is not."""
    if not leftovers or leftovers[0].startswith("-"):
        parser.refuse_unknown(leftovers)
        return None, arguments
    name, *rest = leftovers
    parser.refuse_unknown(rest)
    try:
        folder = to_path(name)
    except ConfigError as error:
        parser.error(str(error))
    flag = "--url" if folder.is_dir() else "--model"
    if (arguments.url if folder.is_dir() else arguments.model) is not None:
        parser.error(f"MODEL ({name}) and {flag} cannot be used together")
    if folder.is_dir():
        return folder, arguments
    values = {field: getattr(arguments, field) for field in ChatArguments.__slots__}
    return None, ChatArguments(**{**values, "model": name})


@contextlib.contextmanager
def _server_url(folder: Path | None, arguments: ChatArguments) -> Iterator[str]:
    folder = folder or _find_bundled(arguments)
    if folder is None:
        yield arguments.url or DEFAULT_URL
        return
    with own_server(folder) as url:
        yield url


def _find_bundled(arguments: ChatArguments) -> Path | None:
    """The bundled model that is asked for, unless the server on this machine has it."""
    if arguments.model is None or arguments.url is not None:
        return None
    folder = find_bundled_model(arguments.model)
    if folder is None:
        return None
    client = ChatClient(DEFAULT_URL, read_key(arguments.api_key_file))
    try:
        return None if arguments.model in client.models() else folder
    except ChatError:
        return folder


def _chat(url: str, arguments: ChatArguments) -> int:
    if sys.stdout is None:
        raise ChatError("there is no place for the answer: standard output is closed")
    temperature = arguments.temperature
    parameters = {} if temperature is None else {"temperature": temperature}
    key = read_key(arguments.api_key_file)
    client = ChatClient(url, key, parameters, arguments.ssl_ca_certs)
    model = _choose_model(client, arguments.model)
    conversation = Conversation(client, model, arguments.system_prompt)
    if arguments.quick is not None:
        conversation.ask(arguments.quick)
    elif sys.stdin is None:
        raise ChatError("there is no question: standard input is closed")
    elif sys.stdin.isatty():
        _edit_lines()
        conversation.run()
    else:
        text = sys.stdin.buffer.read().decode(errors="replace")
        if not text.strip():
            raise ChatError("there is no question: standard input is empty")
        conversation.ask(text)
    return 0


def _choose_model(client: ChatClient, name: str | None) -> str:
    try:
        names = client.models()
    except ChatError as error:
        raise ChatError(
            f"{error}. Start a server with: server MODEL, or chat with a model folder: "
            "server chat FOLDER"
        ) from error
    if not names:
        raise ChatError(f"{client.url}: no model is available there; the server's log says why")
    if name is None:
        return names[0]
    if name not in names:
        hint = did_you_mean(name, names) or f"; models: {', '.join(names)}"
        raise ChatError(f"there is no model {name!r} on {client.url}, and no such folder{hint}")
    return name


def _utf8(text: str) -> str:
    """An argument read as UTF-8 in every locale; other bytes become U+FFFD, as those of a pipe."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _edit_lines() -> None:
    """Let `input` have a history and the keys of the shell, where Python has them."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401
