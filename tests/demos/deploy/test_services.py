"""The files for services and routers: nginx run with real servers, the others by what they name."""

import configparser
import json
import shlex
import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.server_process import ROOT, ServerProcess, server_process

from server.cli.access.api_keys import KEY_VARIABLE

DEPLOY = ROOT / "demos" / "deploy"
MODEL = "tiny_chat"
CHAT = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "temperature": 0,
}


def _yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def _unit() -> configparser.ConfigParser:
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "openvino-graph-server.service")
    return unit


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def test_the_unit_starts_the_server(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_config_list": []}')
    (tmp_path / "api_keys").write_text("a-secret")
    command = shlex.split(_unit()["Service"]["ExecStart"])
    assert command[0].endswith("/bin/server")
    places = {
        "/srv/models/config.json": str(tmp_path / "config.json"),
        "${CREDENTIALS_DIRECTORY}/api_keys": str(tmp_path / "api_keys"),
        "0.0.0.0": "127.0.0.1",
    }
    with server_process(*(places.get(word, word) for word in command[1:])) as server:
        assert server.post("/v3/completions", {"model": "m", "prompt": "Hi"})[0] == 401


def test_the_unit_gives_the_drain_its_time() -> None:
    service = _unit()["Service"]
    assert int(service["TimeoutStopSec"]) >= 30 + 15
    assert service["Restart"] == "on-failure"


def test_skypilot_runs_a_command_of_the_server() -> None:
    task = _yaml("skypilot.yaml")
    command = shlex.split(task["run"])
    assert command[0].endswith("/bin/server")
    # What the command line knows is told before the model is asked for.
    words = [*command[1:], "--no-such-flag"]
    ended = subprocess.run(
        [sys.executable, "-m", "server", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (ended.returncode, ended.stderr.splitlines()[0]) == (
        64,
        "server: unknown flag --no-such-flag",
    )
    assert task["service"]["readiness_probe"]["path"] == "/health"
    # SkyPilot asks for it: the port is open to everybody.
    assert task["secrets"] == {KEY_VARIABLE: None}
    assert str(task["resources"]["ports"]) == command[command.index("--rest_port") + 1]


def test_litellm_asks_as_one_asks_vllm() -> None:
    """`make clients` runs it."""
    asked: dict[str, set[str]] = {}
    for entry in _yaml("litellm.yaml")["model_list"]:
        asked.setdefault(entry["litellm_params"]["model"], set()).add(
            entry["litellm_params"]["api_base"]
        )
    assert asked == {
        f"hosted_vllm/{MODEL}": {"http://127.0.0.1:8000/v1", "http://127.0.0.1:8001/v1"},
        "hosted_vllm/tiny_embedder": {"http://127.0.0.1:8000/v1"},
    }


def test_the_endpoint_picker_names_plugins_that_it_has_listed() -> None:
    config = _yaml("endpoint_picker.yaml")
    plugins = {plugin["type"] for plugin in config["plugins"]}
    (profile,) = config["schedulingProfiles"]
    named = {plugin["pluginRef"] for plugin in profile["plugins"]}
    named.add(config["dataLayer"]["discovery"]["endpoints"]["pluginRef"])
    for source in config["dataLayer"]["sources"]:
        named.add(source["pluginRef"])
        named.update(extractor["pluginRef"] for extractor in source["extractors"])
    assert named < plugins
    (discovery,) = (plugin for plugin in config["plugins"] if plugin["type"] == "file-discovery")
    assert Path(discovery["parameters"]["path"]).name == "endpoints.yaml"
    for endpoint in _yaml("endpoints.yaml")["endpoints"]:
        assert socket.inet_aton(endpoint["address"])
        assert 0 < int(endpoint["port"]) < 65536


def _start_nginx(folder: Path, port: int, servers: list[ServerProcess]) -> subprocess.Popen[bytes]:
    text = (DEPLOY / "nginx.conf").read_text()
    text = text.replace("listen 127.0.0.1:8080", f"listen 127.0.0.1:{port}")
    for place, server in zip(("127.0.0.1:8000", "127.0.0.1:8001"), servers, strict=True):
        assert text.count(place) == 1
        text = text.replace(place, server.url.removeprefix("http://"))
    (folder / "nginx.conf").write_text(text)
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    assert nginx is not None
    command = [nginx, "-p", str(folder), "-c", "nginx.conf", "-g", "daemon off;"]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


@pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin") is None,
    reason="nginx is not installed",
)
def test_nginx_passes_streams_on_and_goes_round_a_server_that_is_gone(tmp_path: Path) -> None:
    port = _free_port()
    with (
        server_process(MODEL, "--trusted_proxies", "127.0.0.1") as one,
        server_process(MODEL, "--trusted_proxies", "127.0.0.1") as other,
    ):
        nginx = _start_nginx(tmp_path, port, [one, other])
        try:
            front = ServerFront(port)
            assert "Paris" in front.answer()
            stream = front.post({**CHAT, "stream": True, "max_tokens": 60, "ignore_eos": True})
            assert stream.count("data: ") > 20
            # The same session stays on one server, whatever its address, until that one is gone.
            for number in range(2, 8):
                front.post(CHAT, source=f"127.0.0.{number}")
            asked = [sum("chat/completions" in line for line in s.log) for s in (one, other)]
            assert sorted(asked)[0] == 0
            (one, other)[asked.index(max(asked))].stop()
            assert "Paris" in front.answer()
        finally:
            nginx.terminate()
            nginx.wait(timeout=20)


class ServerFront:
    """A proxy in front of servers; waits until it listens."""

    def __init__(self, port: int) -> None:
        self._port = port
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the proxy does not listen")

    def answer(self) -> str:
        return self.post(CHAT)

    def post(self, body: Any, source: str = "127.0.0.1") -> str:
        headers = {"Content-Type": "application/json", "X-Session-Id": "a"}
        asking = HTTPConnection("127.0.0.1", self._port, timeout=60, source_address=(source, 0))
        with closing(asking):
            asking.request("POST", "/v3/chat/completions", json.dumps(body), headers)
            answer = asking.getresponse()
            assert answer.status == 200
            return answer.read().decode()
