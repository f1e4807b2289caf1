"""The access log: what the line of a request has, and what it never has."""

import asyncio
import logging
import re

import pytest
from support.serving import Server

from server.api.clients.api_keys import ApiKey, KeyRing
from server.api.settings import HttpSettings

LOGGER = "server.access"
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "a b c"}]}


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


async def access_lines(caplog: pytest.LogCaptureFixture, count: int = 1) -> list[str]:
    """The lines without request ids, once there are so many: some come after their answer."""
    lines: list[str] = []
    async with asyncio.timeout(60):
        while len(lines) < count:
            await asyncio.sleep(0.01)
            records = [record for record in caplog.records if record.name == LOGGER]
            lines = [
                re.sub(r" id=[0-9a-f]{32}\b", "", record.getMessage())
                for record in records
                if record.levelno == logging.INFO
            ]
    assert len(lines) == count
    return lines


@pytest.mark.parametrize("stream", [False, True])
async def test_a_generation(server: Server, caplog: pytest.LogCaptureFixture, stream: bool) -> None:
    async with server.http.post(
        "/v3/chat/completions?secret=1", json={**CHAT, "n": 2, "stream": stream}
    ) as response:
        await response.read()
    (line,) = await access_lines(caplog)
    pattern = "POST /v3/chat/completions 200 model=echo in=3 cached=1 out=6 "
    assert re.fullmatch(pattern + r"ttft_ms=\d+ total_ms=\d+", line)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves(
    server: Server, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    body = {"model": "echo", "prompt": "a !endless", "max_tokens": 2, "stream": stream}
    request = asyncio.create_task(server.post_text("/v3/completions", body))
    await server.until_running(1)
    request.cancel()
    (line,) = await access_lines(caplog)
    assert line.startswith("POST /v3/completions 499 model=echo in=2 ")
    assert line.endswith(" error=client_gone")


async def test_a_stream_that_fails(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    await server.post_text(
        "/v3/completions", {"model": "echo", "prompt": "a !generation", "stream": True}
    )
    (line,) = await access_lines(caplog)
    assert line.startswith("POST /v3/completions 200 model=echo in=2 cached=1 out=1 ")
    assert line.endswith(" error=server_error")


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/v3/raw", {}, "POST /v3/raw 200 model=raw total_ms=N"),
        (
            "GET",
            "/v3/models/raw/deep",
            None,
            "GET /v3/models/raw/deep 200 model=raw/deep total_ms=N",
        ),
        ("GET", "/nowhere", None, "GET /nowhere 404 total_ms=N error=not_found"),
        ("PUT", "/v1/config", None, "PUT /v1/config 405 total_ms=N error=method_not_allowed"),
        (
            "GET",
            "/v3/responses/x",
            None,
            "GET /v3/responses/x 404 total_ms=N error=response_not_found",
        ),
        (
            "POST",
            "/v3/completions",
            {"model": "no", "prompt": "secret"},
            "POST /v3/completions 404 model=no total_ms=N error=model_not_found",
        ),
        (
            "POST",
            "/v2/models/broken/infer",
            {"inputs": []},
            "POST /v2/models/broken/infer 503 model=broken total_ms=N error=service_unavailable",
        ),
    ],
)
async def test_other_requests(
    server: Server,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    body: object,
    expected: str,
) -> None:
    async with server.http.request(method, path, json=body) as response:
        await response.read()
    (line,) = await access_lines(caplog)
    assert re.sub(r"total_ms=\d+", "total_ms=N", line) == expected


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("a\nERROR fake", r"'a\nERROR fake'"),
        ("a total_ms=0", "'a total_ms=0'"),
        ("\x1b[31mred", r"'\x1b[31mred'"),
        ("x" * 5000, "x" * 200 + "..."),
        ("模型", "模型"),
    ],
)
async def test_a_model_cannot_forge_a_line(
    server: Server, caplog: pytest.LogCaptureFixture, model: str, shown: str
) -> None:
    await server.post("/v3/completions", {"model": model, "prompt": "x"})
    (line,) = await access_lines(caplog)
    assert line.startswith(f"POST /v3/completions 404 model={shown} total_ms=")


async def test_a_path_cannot_forge_a_line(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    async with server.http.get("/a%0Ab%20c" + "d" * 1000):
        pass
    (line,) = await access_lines(caplog)
    assert line.startswith("GET /a%0Ab%20cddd")
    assert len(line) < 300


async def test_an_address_in_the_request_line_is_not_logged(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    target = f"http://me:password@127.0.0.1:{server.port}/nowhere?key=k"
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readline()
    writer.close()
    (line,) = await access_lines(caplog)
    assert line.startswith("GET /nowhere 404 ")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/health"),
        ("HEAD", "/v2/health/live"),
        ("GET", "/v2/models/echo/ready"),
        ("GET", "/metrics"),
        ("GET", "/v1/config"),
        ("GET", "/v1/status/"),
        ("GET", "/v1//config"),
        ("OPTIONS", "/v3/models"),
    ],
)
async def test_probes_are_for_debugging(
    server: Server, caplog: pytest.LogCaptureFixture, method: str, path: str
) -> None:
    async with server.http.request(method, path):
        pass
    await server.post("/v3/raw", {})
    await access_lines(caplog)
    (record, _) = [record for record in caplog.records if record.name == LOGGER]
    assert record.levelno == logging.DEBUG
    assert record.getMessage().startswith(f"{method} {path} ")


class TestOff:
    @pytest.fixture
    def settings(self) -> HttpSettings:
        return HttpSettings(access_log=False)

    async def test_no_line(self, server: Server, caplog: pytest.LogCaptureFixture) -> None:
        async with server.http.get("/v3/models"), server.http.get("/health"):
            pass
        assert not [record for record in caplog.records if record.name == LOGGER]


class TestRefused:
    @pytest.fixture
    def settings(self) -> HttpSettings:
        return HttpSettings(keys=KeyRing([ApiKey.of("key")]), request_timeout_s=0.5)

    async def test_wrong_key(self, server: Server, caplog: pytest.LogCaptureFixture) -> None:
        headers = {"Authorization": "Bearer wrong-key"}
        async with server.http.post("/v3/raw", json={}, headers=headers):
            pass
        (line,) = await access_lines(caplog)
        assert line.startswith("POST /v3/raw 401 ")
        assert line.endswith(" error=invalid_api_key")
        assert "wrong" not in line

    async def test_timeout_of_a_stream(
        self, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        body = {"model": "echo", "prompt": "a !wait", "stream": True}
        headers = {"Authorization": "Bearer key"}
        async with server.http.post("/v3/completions", json=body, headers=headers) as response:
            await response.read()
        (line,) = await access_lines(caplog)
        assert line.startswith("POST /v3/completions 200 model=echo in=2 ")
        assert line.endswith(" error=request_timeout")
