"""`server chat` without a terminal: pipes, one question, and what goes wrong."""

import http.server
import os
import shlex
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.fakes import describe_graph, echo_graph, parsed_graph, write_graph, write_repository
from support.server_command import ROOT, command, ready_line, started, url_of

from server.cli.chat.client import ChatClient
from server.errors import ChatError

TALKING = """
class Talking(EchoCalculator):
    def open(self, cc):
        print("loading the weights", flush=True)
        super().open(cc)
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("models")
    graphs = {"echo": echo_graph(), "describe": describe_graph(), "thinker": parsed_graph()}
    (folder / "key").write_text("secret\n")
    flags = ["--api_key_file", folder / "key", "--api_key_protects", "all"]
    with started("--config_path", write_repository(folder, graphs), *flags) as process:
        yield url_of(ready_line(process))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("secret")
    return tmp_path / "key"


def chat(*arguments: str | Path, text: str | bytes = "") -> subprocess.CompletedProcess[str]:
    data = text if isinstance(text, bytes) else text.encode()
    result = subprocess.run(
        command("chat", *arguments), input=data, cwd=ROOT, capture_output=True, check=False
    )
    return subprocess.CompletedProcess(
        result.args, result.returncode, result.stdout.decode(), result.stderr.decode()
    )


def test_a_pipe_is_one_message(url: str, key: Path) -> None:
    result = chat("--url", url, "--api_key_file", key, text="one\ntwo /clear\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "one\ntwo /clear\n\n", "")


def test_one_question(url: str, key: Path) -> None:
    flags = ["--api-key-file", key, "--model", "describe", "--temperature", "0.5"]
    result = chat("--url", url, *flags, "--quick", "x", "--system-prompt", "y")
    assert result.returncode == 0
    assert '"temperature": 0.5' in result.stdout
    assert '{"role": "system", "content": "y"}, {"role": "user", "content": "x"}' in result.stdout


def test_reasoning_is_not_in_the_output_of_a_pipe(url: str, key: Path) -> None:
    result = chat("thinker", "--url", url, "--api_key_file", key, "-q", "x")
    assert result.stdout == "Let me look\n"
    assert "I think" in result.stderr


def test_bytes_that_are_no_text(url: str, key: Path) -> None:
    result = chat("--url", url, "--api_key_file", key, text=b"a\xffb")
    assert (result.returncode, result.stdout) == (0, "a\ufffdb\n")
    result = chat("--url", url, "--api_key_file", key, "-q", os.fsdecode(b"c\xffd"))
    assert (result.returncode, result.stdout) == (0, "c\ufffdd\n")


@pytest.mark.parametrize(("stream", "problem"), [("<&-", "input"), (">&-", "output")])
def test_a_closed_stream(stream: str, problem: str, url: str, key: Path) -> None:
    line = shlex.join(map(str, command("chat", "--url", url, "--api_key_file", key)))
    result = subprocess.run(["sh", "-c", f"{line} {stream}"], capture_output=True, check=False)
    assert result.returncode == 1
    assert result.stderr.decode().endswith(f": standard {problem} is closed\n")


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v3/"])
def test_forms_of_the_address(suffix: str, url: str, key: Path) -> None:
    address = url.removeprefix("http://") + suffix
    result = chat("--url", address, "--api_key_file", key, "-q", "hello")
    assert (result.stdout, result.stderr) == ("hello\n", "")


def test_a_proxy_is_not_asked_for_this_machine(
    url: str, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert chat("--url", url, "--api_key_file", key, "-q", "hello").stdout == "hello\n"


def test_no_server() -> None:
    result = chat("--url", "http://127.0.0.1:1", "-q", "x")
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("server chat: no answer from http://127.0.0.1:1: Connection refused.")
    assert "Start a server with: server MODEL" in line


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["-q", "x"], "the server wants an API key: give --api_key_file"),
        (["--api_key_file", "KEY", "ekho", "-q", "x"], "no model 'ekho'"),
        (["--api_key_file", "KEY"], "there is no question: standard input is empty"),
        (["--api_key_file", "KEY", "-q", "!generation"], "because of !generation"),
        (["--api_key_file", "KEY", "-q", "a !generation"], "because of !generation"),
        (["--api_key_file", "lost", "-q", "x"], "lost: cannot be read: No such file"),
        (["--api_key_file", "KEY", "--temperature", "-5", "-q", "x"], "temperature"),
    ],
)
def test_what_goes_wrong(flags: list[str], problem: str, url: str, key: Path) -> None:
    result = chat("--url", url, *[str(key) if flag == "KEY" else flag for flag in flags])
    assert result.returncode == 1
    assert problem in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--modle", "x"], "unknown flag --modle; did you mean '--model'?"),
        (["x" * 5000], "File name too long"),
        (["a", "b"], "unexpected argument 'b'"),
        (["a", "--model", "b"], "MODEL (a) and --model cannot be used together"),
        ([".", "--url", "b"], "MODEL (.) and --url cannot be used together"),
        (["--temperature", "hot"], "'hot' is not a finite number"),
        (["--temperature", "nan"], "'nan' is not a finite number"),
    ],
)
def test_bad_usage(flags: list[str], problem: str) -> None:
    result = chat(*flags)
    assert result.returncode == 64
    assert problem in result.stderr


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    result = chat(tmp_path, "-q", "x")
    assert result.returncode == 1
    assert "there is no model in it" in result.stderr
    assert "could not be loaded; the lines above say why" in result.stderr


def test_a_model_that_prints_while_it_is_loaded(tmp_path: Path) -> None:
    write_graph(tmp_path, echo_graph().replace(":EchoCalculator", ":Talking"))
    with (tmp_path / "fakes.py").open("a") as fakes:
        fakes.write(TALKING)
    result = chat(tmp_path, "-q", "x")
    assert (result.returncode, result.stdout) == (0, "x\n"), result.stderr


@contextmanager
def answering(body: bytes, content_type: str) -> Iterator[str]:
    """A server that is none of ours."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": 5}', b'{"data": [1]}'])
def test_another_server(body: bytes) -> None:
    with answering(body, "application/json") as url, pytest.raises(ChatError, match="server"):
        ChatClient(url).models()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'data: {"choices": []}\n\n',
        b"data: <html>\n\n",
        b"data: [1]\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"error": "broken"}\n\n',
        b'data: {"choices": [5]}\n\n',
        b'data: {"choices": [{"delta": {"content": 5}}]}\n\n',
        b'data: {"choices": [{"delta": null}]}\n\n',
    ],
)
def test_an_answer_without_an_end(body: bytes) -> None:
    with answering(body, "text/event-stream") as url, pytest.raises(ChatError):
        list(ChatClient(url).stream("m", []))
