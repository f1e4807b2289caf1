"""What a browser sends for pages of other sites, and under other names of this machine."""

import asyncio
import json

import pytest
from support.serving import Server

from server.api.settings import CorsSettings, HttpSettings

BODY = json.dumps({"model": "echo", "prompt": "hi"})
FORM = "application/x-www-form-urlencoded"
EVIL = {"Origin": "https://evil.example"}
UI = {"Origin": "https://ui.example"}


@pytest.fixture
def origins() -> tuple[str, ...]:
    return ("localhost", "https://ui.example")


@pytest.fixture
def hosts() -> tuple[str, ...] | None:
    return None


@pytest.fixture
def settings(origins: tuple[str, ...], hosts: tuple[str, ...] | None) -> HttpSettings:
    return HttpSettings(cors=CorsSettings(origins), allowed_hosts=hosts)


async def status_of(server: Server, path: str, headers: dict[str, str]) -> int:
    async with server.http.post(
        path, data=BODY.encode(), headers=headers, skip_auto_headers=["Content-Type"]
    ) as response:
        return response.status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({**EVIL, "Content-Type": "text/plain"}, 403),
        ({**EVIL, "Content-Type": "text/plain;charset=UTF-8"}, 403),
        ({**EVIL, "Content-Type": FORM}, 403),
        ({**EVIL, "Content-Type": "Multipart/Form-Data; boundary=x"}, 403),
        (EVIL, 403),
        ({"Origin": "null", "Content-Type": "text/plain"}, 403),
        ({"Origin": "http://[", "Content-Type": "text/plain"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}, 403),
        # A browser asks before it sends this, and is told no.
        ({**EVIL, "Content-Type": "application/json"}, 200),
        # curl -d, and other programs.
        ({"Content-Type": FORM}, 200),
        ({}, 200),
        ({**UI, "Content-Type": "text/plain"}, 200),
        ({"Origin": "http://localhost:3000", "Content-Type": "text/plain"}, 200),
        # A page from a proxy in front of the server.
        ({**EVIL, "Host": "evil.example", "Content-Type": "text/plain"}, 200),
        ({**EVIL, "Sec-Fetch-Site": "same-origin", "Content-Type": "text/plain"}, 200),
    ],
)
async def test_posts(headers: dict[str, str], status: int, server: Server) -> None:
    assert await status_of(server, "/v3/completions", headers) == status


@pytest.mark.parametrize("path", ["/v1/config/reload", "/v2/models/echo/infer", "/v3/raw"])
async def test_all_paths(path: str, server: Server) -> None:
    assert await status_of(server, path, {**EVIL, "Content-Type": "text/plain"}) == 403


async def test_the_error_says_what_to_do(server: Server) -> None:
    headers = {**EVIL, "Content-Type": "text/plain"}
    status, answer = await server.post("/v3/completions", BODY.encode(), headers=headers)
    assert (status, answer["error"]["code"]) == (403, "origin_not_allowed")
    assert "https://evil.example" in answer["error"]["message"]
    assert "--allowed_origins" in answer["error"]["message"]


@pytest.mark.parametrize("origins", [("*",)])
async def test_all_origins(server: Server) -> None:
    for headers in (EVIL, {"Sec-Fetch-Site": "cross-site"}):
        assert await status_of(server, "/v3/completions", headers) == 200


@pytest.mark.parametrize("hosts", [("192.0.2.1", "ai.example", "2001:db8::1")])
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("localhost.:8000", 200),
        ("api.localhost", 200),
        ("127.0.0.1:8000", 200),
        ("127.3.2.1", 200),
        ("[::1]:8000", 200),
        ("192.0.2.1:8000", 200),
        ("[2001:db8::1]:8000", 200),
        ("AI.example:8000", 200),
        ("host.docker.internal:8000", 200),
        ("evil.example", 403),
        ("evil.example:8000", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.0.2.2", 403),
    ],
)
async def test_hosts(host: str, status: int, server: Server) -> None:
    for method, path in (("GET", "/v1/config"), ("POST", "/v3/completions")):
        headers = {"Host": host}
        async with server.http.request(method, path, data=BODY, headers=headers) as response:
            assert response.status == status
            if status == 403:
                error = (await response.json())["error"]
                assert "--allowed_hosts" in error["message"]


@pytest.mark.parametrize("hosts", [None, ("*",)])
async def test_any_host(server: Server) -> None:
    async with server.http.get("/v1/config", headers={"Host": "evil.example"}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/config HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 10_000 + b"\r\n\r\n",
        b"GET /v3/x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        b"GET /v1/config HTTP/1.1\r\nHost: x\r\nExpect: nonsense\r\nConnection: close\r\n\r\n",
        b"POST /v3/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_no_answer_names_the_library(data: bytes, server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).lower()
    writer.close()
    assert head.startswith(b"http/1.")
    assert b"\nserver:" not in head
    assert b"aiohttp" not in head
