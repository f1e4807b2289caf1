"""A conversation with a model, and the commands of the person who leads it."""

import contextlib
from collections.abc import Callable

from server.cli.chat.answer_printer import AnswerPrinter
from server.cli.chat.client import ChatClient, Message
from server.errors import ChatError, did_you_mean

__all__ = ["Conversation"]

QUOTES = '"""'
HELP = f"""\
/system TEXT  Set the system message; /system alone shows it.
/clear        Forget the conversation; the system message stays.
/help         Show this.
/exit         Leave, as Ctrl-D does.
{QUOTES}           Begin a message of several lines, and end it.
Ctrl-C        Stop an answer."""
HINT = "To leave, press Ctrl-D or type /exit."


class Conversation:
    """The messages so far. A question that gets no answer leaves no trace."""

    def __init__(self, client: ChatClient, model: str, system: str = "") -> None:
        self._client = client
        self._model = model
        self._system = system
        self._messages: list[Message] = []

    def ask(self, text: str) -> None:
        """Print the answer. Raises ChatError."""
        messages = [*self._messages, {"role": "user", "content": text}]
        system = [{"role": "system", "content": self._system}] if self._system else []
        printer = AnswerPrinter()
        # Closing it closes the connection, which stops the server's work.
        with contextlib.closing(self._client.stream(self._model, [*system, *messages])) as pieces:
            try:
                for piece in pieces:
                    printer.show(piece)
            finally:
                printer.end()
                if printer.text:
                    answer = {"role": "assistant", "content": printer.text}
                    self._messages = [*messages, answer]

    def run(self) -> None:
        """Talk to the person at the terminal until they leave."""
        print(f"Chat with {self._model}. /help shows the commands. {HINT}")
        while True:
            try:
                text = read_message(input)
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print(f"\n{HINT}")
                continue
            if text.startswith("/"):
                if not self._obey(text):
                    return
            elif text.strip():
                self._ask_or_explain(text)

    def _ask_or_explain(self, text: str) -> None:
        try:
            self.ask(text)
        except ChatError as error:
            print(error)
        except KeyboardInterrupt:
            print("(stopped)")

    def _obey(self, text: str) -> bool:
        """Follow a command; returns whether the conversation goes on."""
        command, _, rest = text.partition(" ")
        match command.strip():
            case "/exit" | "/quit" | "/bye":
                return False
            case "/help" | "/?":
                print(HELP)
            case "/clear":
                self._messages = []
                print("The conversation is forgotten.")
            case "/system" if rest.strip():
                self._system = rest.strip()
                print("The system message is set.")
            case "/system":
                print(self._system or "There is no system message.")
            case unknown:
                names = ["/system", "/clear", "/help", "/exit"]
                hint = did_you_mean(unknown, names)
                print(f"Unknown command {unknown}{hint}; /help shows the commands.")
        return True


def read_message(read_line: Callable[[str], str]) -> str:
    '''A line, or all lines between two """ of which the first may follow a command.'''
    line = read_line(">>> ")
    head, quotes, text = line.partition(QUOTES)
    if not quotes or (head.strip() and not head.startswith("/")):
        return line
    while QUOTES not in text:
        text += "\n" + read_line("... ")
    return head + text.partition(QUOTES)[0].strip("\n")
