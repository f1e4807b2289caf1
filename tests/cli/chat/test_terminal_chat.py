"""`server chat` in a terminal, with a real server."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fakes import describe_graph, echo_graph, parsed_graph, write_graph, write_repository
from support.server_command import get, ready_line, started, url_of
from support.terminal import Terminal, terminal

PROMPT = ">>> "


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a model that repeats, one that tells what it got, and one that thinks."""
    graphs = {"echo": echo_graph(), "describe": describe_graph(), "thinker": parsed_graph()}
    config = write_repository(tmp_path_factory.mktemp("models"), graphs)
    with started("--config_path", config, "--drain_timeout_s", "0") as process:
        yield url_of(ready_line(process))


def messages_seen(chat: Terminal, question: str) -> list[tuple[str, str]]:
    """What arrived at the model, which answers with that."""
    chat.type(f"{question}\n")
    chat.wait_for("\n")
    seen = json.loads(chat.wait_for(f"\n{PROMPT}"))["messages"]
    return [(message["role"], message["content"]) for message in seen]


def test_a_conversation(url: str) -> None:
    with terminal("chat", "--url", url) as chat:
        assert "Chat with echo. /help shows the commands." in chat.wait_for(PROMPT)
        chat.type("hello there\n")
        chat.wait_for("hello there\n")
        assert chat.wait_for(PROMPT) == "hello there\n"
        chat.type("/help\n")
        assert "/system TEXT  Set the system message" in chat.wait_for(PROMPT)
        chat.type("/sistem x\n")
        assert "Unknown command /sistem; did you mean '/system'?" in chat.wait_for(PROMPT)
        chat.type("\x04")
        assert chat.wait() == 0


def test_history_and_system_message(url: str) -> None:
    with terminal("chat", "describe", "--url", url, "--system_prompt", "be short") as chat:
        chat.wait_for(PROMPT)
        system = ("system", "be short")
        first = [system, ("user", "one")]
        assert messages_seen(chat, "one") == first
        roles = [role for role, _ in messages_seen(chat, "two")]
        assert roles == ["system", "user", "assistant", "user"]
        chat.type("/clear\n")
        chat.wait_for(PROMPT)
        assert messages_seen(chat, "one") == first
        chat.type("/system\n")
        assert "be short\n" in chat.wait_for(PROMPT)
        chat.type('/system """be\n')
        chat.wait_for("... ")
        chat.type('long"""\n')
        chat.wait_for(PROMPT)
        assert messages_seen(chat, "x")[0] == ("system", "be\nlong")
        chat.type("/exit\n")
        assert chat.wait() == 0


def test_a_message_of_several_lines(url: str) -> None:
    with terminal("chat", "describe", "--url", url) as chat:
        chat.wait_for(PROMPT)
        chat.type('"""\n')
        chat.wait_for("... ")
        chat.type("one\n")
        chat.wait_for("... ")
        assert messages_seen(chat, '  two"""') == [("user", "one\n  two")]


def test_ctrl_c_stops_an_answer_and_not_the_program(url: str) -> None:
    with terminal("chat", "--url", url) as chat:
        chat.wait_for(PROMPT)
        chat.type("!endless\n")
        chat.wait_for("again again")
        chat.type("\x03")
        chat.wait_for("(stopped)\n")
        chat.wait_for(PROMPT)
        # readline loses a signal between the prompt and its wait for a key; no hand is so fast.
        time.sleep(0.5)
        chat.type("\x03")
        chat.wait_for("press Ctrl-D or type /exit")
        chat.wait_for(PROMPT)
        chat.type("hello\n")
        chat.wait_for("hello\n")
        assert chat.wait_for(PROMPT) == "hello\n"


def test_a_question_that_fails_is_forgotten(url: str) -> None:
    with terminal("chat", "--url", url) as chat:
        chat.wait_for(PROMPT)
        chat.type("!invalid\n")
        assert "because of !invalid" in chat.wait_for(PROMPT)
        chat.type("a !generation\n")
        assert "because of !generation" in chat.wait_for(PROMPT)
        chat.type("hello\n")
        chat.wait_for("hello\n")
        assert chat.wait_for(PROMPT) == "hello\n"


def test_reasoning_looks_different(url: str) -> None:
    with terminal("chat", "thinker", "--url", url, NO_COLOR="") as chat:
        chat.wait_for(PROMPT)
        chat.type("x\n")
        chat.wait_for("x\n")
        assert chat.wait_for(PROMPT) == "[reasoning]\nI think\n[answer]\nLet me look\n"


def test_a_model_folder_is_loaded_for_the_chat(tmp_path: Path) -> None:
    write_graph(tmp_path / "m", echo_graph())
    with terminal("chat", tmp_path / "m") as chat:
        chat.wait_for(PROMPT)
        chat.type("!endless\n")
        chat.wait_for("again again")
        chat.type("\x03")
        chat.wait_for("(stopped)\n")
        chat.type("hello\n")
        chat.wait_for("hello\n")
        chat.wait_for("hello\n")
        # Before the prompt the end of input would get lost.
        chat.wait_for(PROMPT)
        chat.type("\x04")
        assert chat.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_server_of_a_chat_ends_with_it(number: signal.Signals, tmp_path: Path) -> None:
    write_graph(tmp_path / "m", echo_graph())
    with terminal("chat", tmp_path / "m") as chat:
        chat.wait_for(PROMPT)
        (child,) = Path(f"/proc/{chat.pid}/task/{chat.pid}/children").read_text().split()
        os.kill(chat.pid, number)
        chat.wait()
        end = time.monotonic() + 60
        while Path(f"/proc/{child}").exists():
            assert time.monotonic() < end, "the server goes on"
            time.sleep(0.05)


def test_ctrl_c_while_the_model_loads(tmp_path: Path) -> None:
    write_graph(tmp_path / "m", echo_graph(open_s=30.0))
    with terminal("chat", tmp_path / "m") as chat:
        chat.wait_for("Loading ")
        chat.type("\x03")
        assert chat.wait() == 130
    assert "Traceback" not in chat.shown


def test_a_server_that_stops_in_the_middle(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"echo": echo_graph()})
    with started("--config_path", config, "--drain_timeout_s", "0") as process:
        url = url_of(ready_line(process))
        assert get(f"{url}/health") == 200
        with terminal("chat", "--url", url) as chat:
            chat.wait_for(PROMPT)
            chat.type("!endless\n")
            chat.wait_for("again")
            process.kill()
            assert "no answer from" in chat.wait_for(PROMPT) or "middle of the answer" in chat.shown
            chat.type("hello\n")
            chat.wait_for("no answer from")
            chat.wait_for(PROMPT)
            chat.type("\x04")
            assert chat.wait() == 0
