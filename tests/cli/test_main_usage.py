"""The command `server`: its flags, what it checks and edits, and how it refuses."""

import json
import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest
from support.fakes import echo_graph, write_graph, write_repository
from support.server_command import chat, ready_line, run, started, url_of

from server.api.http_server import open_sockets
from server.cli.command_line import parse_command_line
from server.errors import ConfigError


def test_port_in_use(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--config_path", config, "--rest_port", str(port))
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use; stop" in line


def test_grpc_port_in_use(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("--config_path", config, "--rest_port", "0", "--port", port)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use; stop" in line
    assert line.endswith("or choose another --port")


def test_grpc_beside_http(tmp_path: Path) -> None:
    """Both addresses are told; a signal ends both, although a call still runs."""
    config = write_repository(tmp_path, {})
    with started("--config_path", config, "--port", "0", "--drain_timeout_s", "0") as process:
        address = re.search(r"grpc://(127\.0\.0\.1:\d+)", ready_line(process))
        assert address is not None
        with grpc.insecure_channel(address[1]) as channel:
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
            assert next(watch) == b"\x08\x01"
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
            with pytest.raises(grpc.RpcError):
                list(watch)


@pytest.mark.parametrize("address", ["a b", "1.2.3.4"])
def test_address_that_cannot_be_used(address: str) -> None:
    with pytest.raises(ConfigError, match=address):
        open_sockets(["127.0.0.1", address], 0)


def test_several_addresses_share_a_free_port(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {})
    with started("--config_path", config, "--rest_bind_address", "127.0.0.1, ::1") as process:
        line = ready_line(process)
        v4, v6 = re.findall(r":(\d+)\b", line.partition("(")[0].replace("::1", ""))
        assert v4 == v6


def test_broken_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_config_list": [}')
    result = run("--config_path", tmp_path)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "not JSON at line 1, column 24" in line


ODD_CALCULATOR = """
from dataclasses import dataclass
from server.graph import Calculator, Contract

@dataclass
class Options:
    def __post_init__(self):
        raise KeyError("odd")

class C(Calculator[Options]):
    contract = Contract()
    async def process(self, cc):
        pass
"""


def test_check(tmp_path: Path) -> None:
    graphs = {"good": echo_graph(open_s=60.0)}
    result = run("--check", "--config_path", write_repository(tmp_path, graphs))
    assert (result.returncode, result.stdout) == (0, "good: ok\n1 model(s), 0 with problems\n")

    graphs["bad"] = echo_graph().replace("EchoCalculator", "EchoCalculater")
    graphs["worse"] = "node { calculator: 5 }"
    graphs["odd"] = 'node { calculator: "./odd.py:C" }'
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "odd.py").write_text(ODD_CALCULATOR)
    result = run("--check", "--config_path", write_repository(tmp_path, graphs))
    assert result.returncode == 1
    assert "EchoCalculater" in result.stdout
    assert "worse: " in result.stdout
    assert "odd: " in result.stdout
    assert result.stdout.endswith("4 model(s), 3 with problems\n")
    assert "Traceback" not in result.stderr


def test_a_configuration_is_edited(tmp_path: Path) -> None:
    write_graph(tmp_path / "org/m", echo_graph())
    write_graph(tmp_path / "other", echo_graph())
    repository = ("--model_repository_path", tmp_path)
    assert run("--list_models", *repository).stdout == "org/m\nother\n"
    for name in ("org/m", "other"):
        assert run("--add_to_config", "--model_name", name, *repository).returncode == 0
    config = tmp_path / "config.json"
    entries = [{"config": {"name": name, "base_path": name}} for name in ("org/m", "other")]
    assert json.loads(config.read_text())["model_config_list"] == entries
    group = ("--nireq=2", "--group_name", "rag")
    again = ("--add_to_config", "--model_name", "other", *group, *repository)
    assert run(*again).returncode == 0
    (_, other) = json.loads(config.read_text())["model_config_list"]
    assert other == {
        "config": {"name": "other", "base_path": "other", "nireq": 2, "group_name": "rag"}
    }
    result = run("--remove_from_config", "--model_name", "other", "--config_path", config)
    assert result.returncode == 0
    assert json.loads(config.read_text())["model_config_list"] == entries[:1]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--add_to_config", "--model_name", "lost"], "lost: no such folder; --model_path names"),
        (["--remove_from_config", "--model_name", "n"], "there is no model 'n'; it lists m"),
        (["--list_models", "--model_repository_path", "/nowhere"], "/nowhere: no such folder"),
        (["--add_to_config", "--model_name=m", "--config_path=/dev/null/c"], "/dev/null"),
    ],
)
def test_an_edit_that_cannot_be_made(arguments: list[str], problem: str, tmp_path: Path) -> None:
    write_repository(tmp_path, {"m": echo_graph()})
    result = run("--model_repository_path", tmp_path, *arguments)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert problem in line


def test_the_log_goes_to_a_file_too(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    log = tmp_path / "log"
    log.write_text("before\n")
    with started("--config_path", config, "--log_path", log, "--rest_workers", "4") as process:
        ready_line(process)
        log.rename(tmp_path / "log.1")
        process.send_signal(signal.SIGTERM)
        _, on_stderr = process.communicate(timeout=30)
    old, new = (tmp_path / "log.1").read_text(), log.read_text()
    assert old + new == "before\n" + on_stderr
    assert "WARNING server: --rest_workers has no effect" in old
    assert "Stopped" in new
    result = run("--config_path", config, "--log_path", tmp_path)
    assert (result.returncode, "--log_path" in result.stderr) == (1, True)


def test_flags_about_http(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    (tmp_path / "key").write_text("secret\n")
    flags = ["--api_key_file", tmp_path / "key", "--allowed_origins", "https://a"]
    with started("--config_path", config, *flags, "--max_request_bytes", "300") as process:
        url = url_of(ready_line(process))
        with pytest.raises(urllib.error.HTTPError) as caught, chat(url, "hi"):
            pass
        with caught.value as error:
            assert (error.code, error.headers["Vary"]) == (401, "Origin")
        headers = {"Authorization": "Bearer secret"}
        request = urllib.request.Request(f"{url}/v3/completions", b"x" * 301, headers)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=60)
        with caught.value as error:
            assert error.code == 413
    result = run("--config_path", config, "--api_key_file", tmp_path / "missing")
    assert (result.returncode, "No such file" in result.stderr) == (1, True)


def test_list_calculators() -> None:
    result = run("--list_calculators")
    assert result.returncode == 0, result.stderr
    assert "TokenizerCalculator\n    Turns GENERATION_REQUEST" in result.stdout
    assert "hermes3\n    Tool parser of Hermes 2 and 3" in result.stdout


def test_version() -> None:
    result = run("--version")
    assert result.returncode == 0
    assert re.fullmatch(r"server \S+, OpenVINO \d\S+, Python 3\.\S+\n", result.stdout)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "nothing to serve"),
        (["--config_pth", "x"], "unknown flag --config_pth; did you mean '--config_path'"),
        (["--config_path=x", "--rest"], "unknown flag --rest"),
        (["--config_path", "x", "y"], "MODEL (y) cannot be used together with --config_path"),
        (["x", "y"], "unexpected argument 'y'"),
        (["--config_path", "x", "--model_name", "m"], "cannot be used together"),
        (["--model_name", "m"], "--model_name needs --model_path"),
        (["--config_path", "x", "--rest_port", "65536"], "not a port"),
        (["--config_path", "x", "--rest_port", "-1"], "not a port"),
        (["--config_path", "x", "--rest_bind_address", "a,"], "empty address"),
        (["--config_path", "x", "--log_level", "LOUD"], "LOUD"),
        (["--config_path", "x", "--drain_timeout_s", "nan"], "not a time"),
        (["--config_path"], "expected one argument"),
    ],
)
def test_bad_usage(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        parse_command_line(arguments)
    assert exit_.value.code == 64
    assert problem in capsys.readouterr().err


def test_defaults(tmp_path: Path) -> None:
    arguments = parse_command_line(["--config_path", str(tmp_path)])
    assert arguments.http.rest_port == 8000
    assert arguments.http.rest_bind_address == ("127.0.0.1",)
    assert (arguments.log.log_level, arguments.serving.drain_timeout_s) == ("INFO", 30.0)
