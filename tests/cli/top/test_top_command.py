"""`server top` with real servers, in pipes and in terminals."""

import fcntl
import json
import socket
import struct
import termios
from pathlib import Path

from support.fakes import echo_graph, write_repository
from support.server_command import chat, ready_line, run, started, url_of
from support.terminal import Terminal, terminal

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"


def resize(shown: Terminal, columns: int, rows: int) -> None:
    size = struct.pack("HHHH", rows, columns, 0, 0)
    fcntl.ioctl(shown._master, termios.TIOCSWINSZ, size)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port: int = opened.getsockname()[1]
        return port


def test_one_table(tmp_path: Path) -> None:
    """Also what the flags and errors of a single look are."""
    graphs = {"m": echo_graph(), "bad": echo_graph(fail="no weights")}
    config = write_repository(tmp_path, graphs)
    keys = tmp_path / "keys"
    keys.write_text("secret")
    flags = ("--api_key_file", keys, "--api_key_protects", "all")
    with started("--config_path", config, *flags) as process:
        url = url_of(ready_line(process))
        shown = run("top", "--url", url, "--api_key_file", keys)
        assert (shown.returncode, shown.stderr) == (0, "")
        lines = shown.stdout.splitlines()
        assert url in lines[0]
        assert lines[3].split()[:4] == ["MODEL", "STATE", "RUN", "WAIT"]
        assert [line.split()[:2] for line in lines[4:6]] == [["m", "available"], ["bad", "loading"]]
        assert lines[-1].startswith("bad: ")
        assert "no weights" in lines[-1]
        assert "\x1b" not in shown.stdout
        refused = run("top", "--once", "--url", f"{url}/v3")
        assert refused.returncode == 1
        assert "server top: the server wants an API key" in refused.stderr


def test_no_server() -> None:
    url = f"127.0.0.1:{free_port()}"
    shown = run("top", "--once", "--url", url)
    assert shown.returncode == 1
    assert shown.stderr == f"server top: no answer from {url}: Connection refused\n"
    wrong = run("top", "--url", "file:///etc")
    assert wrong.returncode == 1
    assert "Traceback" not in wrong.stderr


def test_a_server_that_goes_and_comes_back(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    port = str(free_port())
    flags = ("--config_path", config, "--rest_port", port)
    with terminal("top", "--url", f"http://127.0.0.1:{port}", TERM="xterm") as shown:
        resize(shown, 60, 20)
        shown.wait_for(ENTER)
        shown.wait_for("no answer from")
        with started(*flags) as process:
            url = url_of(ready_line(process))
            shown.wait_for("MODEL")
            with chat(url, "hello") as response:
                json.load(response)
            shown.wait_for("available")
            process.terminate()
            shown.wait_for("no answer from")
        with started(*flags) as process:
            ready_line(process)
            shown.wait_for("MODEL")
            resize(shown, 40, 10)
            shown.wait_for("OUT/S\x1b[K")
            shown.type("\x03")
            assert shown.wait() == 0
    assert shown.shown.rstrip().endswith(LEAVE)
    assert "Traceback" not in shown.shown


def test_a_terminal_without_escape_codes(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m" * 100: echo_graph()})
    with started("--config_path", config) as process:
        url = url_of(ready_line(process))
        with terminal("top", "--url", url, TERM="dumb", COLUMNS="40") as shown:
            assert shown.wait() == 0
    assert "\x1b" not in shown.shown
    assert max(map(len, shown.shown.splitlines())) <= 40
