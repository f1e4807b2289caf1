"""CORS: what browsers allow pages of other origins."""

from collections.abc import Mapping

import pytest
from support.serving import Server

from server.api.clients.api_keys import ApiKey, KeyRing
from server.api.settings import CorsSettings, HttpSettings

BODY = {"model": "echo", "prompt": "hi"}
ANY = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "*",
    "Access-Control-Allow-Headers": "*, Authorization",
}
NARROW = CorsSettings(("https://a", "http://b:81"), ("GET", "POST"), ("content-type",), True)


@pytest.fixture
def cors() -> CorsSettings:
    return CorsSettings(origins=("*",))


@pytest.fixture
def settings(cors: CorsSettings) -> HttpSettings:
    return HttpSettings(cors=cors, keys=KeyRing([ApiKey.of("key")]))


def cors_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in headers if name.startswith("Access-Control-")}


@pytest.mark.parametrize("path", ["/v3/completions", "/v1/config", "/nowhere", "/v3/any/graph"])
async def test_a_browser_may_ask_at_every_path(path: str, server: Server) -> None:
    headers = {
        "Origin": "https://a",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    async with server.http.options(path, headers=headers) as response:
        assert (response.status, cors_headers(response.headers)) == (204, ANY)


async def test_other_options_requests_get_the_methods(server: Server) -> None:
    async with server.http.options("/v1/config") as response:
        assert (response.status, response.headers["Allow"]) == (200, "GET,HEAD")
        assert cors_headers(response.headers) == ANY


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v2/health/live", None, 200),
        ("POST", "/v3/completions", BODY, 200),
        ("POST", "/v3/completions", {**BODY, "stream": True}, 200),
        ("POST", "/v3/completions", {**BODY, "n": -1}, 400),
        ("GET", "/nowhere", None, 404),
        ("GET", "/v3/completions", None, 405),
        ("POST", "/v3/raw", {"x": "pieces"}, 202),
    ],
)
async def test_every_answer_has_the_headers(
    method: str, path: str, body: object, status: int, server: Server
) -> None:
    headers = {"Authorization": "Bearer key"}
    async with server.http.request(method, path, json=body, headers=headers) as response:
        assert (response.status, cors_headers(response.headers)) == (status, ANY)


async def test_an_authentication_error_has_the_headers_too(server: Server) -> None:
    async with server.http.post("/v3/completions", json=BODY) as response:
        assert (response.status, cors_headers(response.headers)) == (401, ANY)


@pytest.mark.parametrize("cors", [NARROW])
@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://a", "https://a"),
        ("http://b:81", "http://b:81"),
        ("https://A", None),
        ("https://c", None),
        ("https://a, http://b:81", None),
        (None, None),
    ],
)
async def test_named_origins(origin: str | None, allowed: str | None, server: Server) -> None:
    headers = {} if origin is None else {"Origin": origin}
    async with server.http.get("/health", headers=headers) as response:
        found = cors_headers(response.headers)
        assert response.headers["Vary"] == "Origin"
    assert found.pop("Access-Control-Allow-Origin", None) == allowed
    assert found == {
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": "content-type",
        "Access-Control-Allow-Credentials": "true",
    }


@pytest.mark.parametrize(
    "cors", [CorsSettings(), CorsSettings(("localhost", "https://ui.example"))]
)
@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("http://localhost", True),
        ("http://localhost:3000", True),
        ("https://localhost:3000", True),
        ("http://app.localhost", True),
        ("http://127.0.0.1:5173", True),
        ("http://[::1]:3000", True),
        ("tauri://localhost", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://user@localhost", False),
        ("http://localhost/", False),
        ("http://[", False),
        ("null", False),
        ("localhost", False),
    ],
)
async def test_pages_of_this_machine(origin: str, is_allowed: bool, server: Server) -> None:
    async with server.http.get("/health", headers={"Origin": origin}) as response:
        found = response.headers.get("Access-Control-Allow-Origin")
    assert found == (origin if is_allowed else None)
