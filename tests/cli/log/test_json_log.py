"""--log_format json, from the first line of a server to its last."""

import json
import urllib.request
from typing import Any

import pytest
from support.fakes import echo_graph, write_repository
from support.server_command import get, ready_line, started, url_of

CHAT = {"model": "m", "messages": [{"role": "user", "content": "!bug"}]}


def ask(url: str, body: Any, **headers: str) -> int:
    data = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """All lines of a server that has answered a few requests; each of them is an object."""
    folder = tmp_path_factory.mktemp("json_log")
    config = write_repository(folder, {"m": echo_graph()})
    flags = ("--config_path", config, "--log_format", "JSON", "--log_level", "DEBUG")
    with started(*flags) as process:
        url = url_of(ready_line(process))
        chat = f"{url}/v3/chat/completions"
        assert ask(chat, {**CHAT, "model": "m", "messages": [user("hello")]}) == 200
        assert ask(chat, {**CHAT, "messages": [user("!bug")]}, **{"X-Request-Id": "mine"}) == 500
        assert get(f"{url}/v3/nothing%0A%00{'x' * 500}") == 404
        process.terminate()
        _, log = process.communicate(timeout=30)
    return [json.loads(line) for line in log.splitlines()]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def access(lines: list[dict[str, Any]], path: str) -> dict[str, Any]:
    (line,) = (x for x in lines if x["logger"] == "server.access" and x["path"].startswith(path))
    return line


def test_every_line_has_the_same_members(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        assert list(line)[:4] == ["time", "level", "logger", "message"]
    assert lines[-1]["message"] == "Stopped"


def test_the_access_log_in_fields(lines: list[dict[str, Any]]) -> None:
    found = [x for x in lines if x.get("path") == "/v3/chat/completions"]
    good = found[0]
    assert good["message"] == "POST /v3/chat/completions 200"
    assert (good["method"], good["status"], good["client"]) == ("POST", 200, "127.0.0.1")
    assert (good["model"], good["in"], good["out"]) == ("m", 1, 1)
    assert good["bytes"] > 100
    assert 0 <= good["ttft_ms"] <= good["duration_ms"]
    assert len(good["request_id"]) == 32
    assert "id" not in good


def test_a_path_that_tries_to_break_the_line(lines: list[dict[str, Any]]) -> None:
    line = access(lines, "/v3/nothing")
    assert (line["status"], line["error"]) == (404, "not_found")
    assert line["path"].startswith("/v3/nothing%0A%00xxx")
    assert len(line["path"]) < 300


def test_the_request_in_all_its_lines(lines: list[dict[str, Any]]) -> None:
    found = [x for x in lines if x.get("request_id") == "mine"]
    assert [x["logger"] for x in found] == ["server.api.errors", "server.access"]
    assert found[0]["exception"].startswith("Traceback")
    assert found[0]["model"] == "m"
    assert found[1]["status"] == 500
