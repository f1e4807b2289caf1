"""The API key: who needs it, and for what."""

import asyncio
from ipaddress import ip_network
from typing import Any

import pytest
from openai import AsyncOpenAI, AuthenticationError
from support.serving import Server

from server.api.clients.api_keys import ApiKey, KeyRing
from server.api.clients.wrong_keys import WrongKeys
from server.api.settings import HttpSettings, KeyScope

KEY = "sécret key"
BODY = {"model": "echo", "prompt": "hi"}


@pytest.fixture
def scope() -> KeyScope:
    return KeyScope.CHANGES


@pytest.fixture
def settings(scope: KeyScope) -> HttpSettings:
    return HttpSettings(keys=KeyRing([ApiKey.of(KEY)]), key_scope=scope)


async def status_of(server: Server, method: str, path: str, key: str | None = None) -> int:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with server.http.request(method, path, headers=headers, json=BODY) as response:
        return response.status


@pytest.mark.parametrize(
    "path",
    [
        "/v3/completions",
        "/v3/chat/completions",
        "/v1/v1/raw",
        "/v3/raw",
        "/v1/config/reload",
        "/nowhere",
    ],
)
async def test_a_post_needs_the_key(path: str, server: Server) -> None:
    async with server.http.post(path, json=BODY) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        error = (await response.json())["error"]
    assert "no API key was sent" in error["message"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    assert await status_of(server, "POST", path, KEY) != 401


async def test_kserve_has_its_own_form(server: Server) -> None:
    async with server.http.post("/v2/models/echo/infer", json={}) as response:
        assert response.status == 401
        assert "no API key was sent" in (await response.json())["error"]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {KEY}", 200),
        (f"bearer   {KEY} ", 200),
        (f"Bearer {KEY}x", 401),
        (f"Bearer {KEY[:-1]}", 401),
        (f"Basic {KEY}", 401),
        (KEY, 401),
        ("Bearer", 401),
        ("", 401),
    ],
)
async def test_spellings_of_the_header(header: str, status: int, server: Server) -> None:
    answer = await server.post("/v3/completions", BODY, headers={"Authorization": header})
    assert answer[0] == status


@pytest.mark.parametrize(("key", "status"), [(KEY, 200), (f"{KEY}x", 401), ("", 401)])
async def test_anthropics_header(key: str, status: int, server: Server) -> None:
    answer = await server.post("/v3/completions", BODY, headers={"x-api-key": key})
    assert answer[0] == status


async def test_a_key_that_is_not_utf_8(server: Server) -> None:
    headers = {"Authorization": "Bearer \udcff\udcfe"}
    async with server.http.get("/v1/config", headers=headers) as response:
        assert response.status == 200
    assert (await server.post("/v3/completions", BODY, headers=headers))[0] == 401


@pytest.mark.parametrize(
    ("scope", "path", "status"),
    [
        (KeyScope.CHANGES, "/v3/models", 200),
        (KeyScope.CHANGES, "/v1/config", 200),
        (KeyScope.ALL_BUT_HEALTH, "/v3/models", 401),
        (KeyScope.ALL_BUT_HEALTH, "/v1/config", 401),
        (KeyScope.ALL_BUT_HEALTH, "/openapi.json", 401),
        (KeyScope.ALL_BUT_HEALTH, "/health", 200),
        (KeyScope.ALL_BUT_HEALTH, "/v2/health/live", 200),
        (KeyScope.ALL, "/health", 401),
        (KeyScope.ALL, "/v2/health/live", 401),
    ],
)
async def test_key_scopes(path: str, status: int, server: Server) -> None:
    for method in ("GET", "HEAD"):
        # A model of the fakes is broken, so that the server is not ready: 503.
        assert (await status_of(server, method, path) == 401) == (status == 401)
        assert await status_of(server, method, path, KEY) != 401


async def test_a_delete_needs_the_key(server: Server) -> None:
    assert await status_of(server, "DELETE", "/v3/responses/x") == 401


@pytest.mark.parametrize("scope", list(KeyScope))
async def test_a_browser_may_ask_without_it(server: Server) -> None:
    headers = {"Origin": "https://a", "Access-Control-Request-Method": "POST"}
    async with server.http.options("/v3/completions", headers=headers) as response:
        assert response.status == 204


async def test_openai_client(server: Server) -> None:
    def client(key: str) -> Any:
        return AsyncOpenAI(base_url=f"{server.url}/v3", api_key=key, max_retries=0)

    async with client("wrong") as wrong:
        with pytest.raises(AuthenticationError, match="the API key is wrong"):
            await wrong.completions.create(**BODY)


class TestManyWrongKeys:
    """Above the bound of an address, wrong keys get 429; right ones are taken."""

    @pytest.fixture
    def settings(self) -> HttpSettings:
        keys = KeyRing([ApiKey.of(KEY)], WrongKeys(2))
        return HttpSettings(keys=keys, trusted_proxies=(ip_network("127.0.0.1"),))

    async def test_one_address(self, server: Server) -> None:
        for status in (401, 401, 429, 429):
            assert await status_of(server, "POST", "/v3/completions", "wrong") == status
        assert await status_of(server, "POST", "/v3/completions", KEY) == 200
        # Nobody tried a key here.
        assert await status_of(server, "POST", "/v3/completions") == 401
        assert await status_of(server, "GET", "/v3/models", "wrong") == 200

    async def test_the_answer(self, server: Server) -> None:
        headers = {"Authorization": "Bearer wrong"}
        for _ in range(2):
            await server.post("/v3/completions", BODY, headers=headers)
        async with server.http.post("/v3/completions", json=BODY, headers=headers) as response:
            assert 1 <= int(response.headers["Retry-After"]) <= 60
            error = (await response.json())["error"]
        assert "--max_wrong_keys_per_minute 2" in error["message"]
        assert error["code"] == "rate_limit_exceeded"

    async def test_the_clients_of_a_proxy(self, server: Server) -> None:
        async def status(client: str) -> int:
            headers = {"Authorization": "Bearer wrong", "X-Forwarded-For": client}
            return (await server.post("/v3/completions", BODY, headers=headers))[0]

        assert [await status("192.0.2.1") for _ in range(3)] == [401, 401, 429]
        assert await status("192.0.2.2") == 401


async def status_of_spelling(server: Server, method: str, target: str) -> int:
    """The status of a request whose target is sent as it is: aiohttp's client would clean it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    line = await asyncio.wait_for(reader.readline(), 20)
    writer.close()
    return int(line.split()[1])


def spellings(path: str) -> list[str]:
    """Of a path that has two parts."""
    first, _, second = path[1:].partition("/")
    return [
        path,
        f"{path}/",
        f"{path}//",
        f"{path}?since=0",
        f"{path}/?x",
        f"//{first}/{second}",
        f"/{first}//{second}",
        f"///{first}///{second}///",
        f"/{first}/%{ord(second[0]):02x}{second[1:]}",
        f"/{first}/%{ord(second[0]):02X}{second[1:]}/",
        f"/%{ord(first[0]):02x}{first[1:]}//{second}",
        f"/{first}/./{second}",
        f"/web/../{first}/{second}",
        f"/web/%2e%2e/{first}/{second}",
        f"/web%2F../{first}/{second}",
        f"/{first}%2F{second}",
        f"/{first}/{second}%2F",
        f"/{first}/{second};x",
        f"/{path.upper()}",
        f"/v3{path}",
        f"/v3/v1{path}/",
        f"http://h{path}",
        f"http://h/{path}/",
        f"http://h/web/..{path}",
    ]


@pytest.mark.parametrize("scope", list(KeyScope))
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_no_spelling_of_the_status_leads_around_the_key(method: str, server: Server) -> None:
    statuses = {
        target: await status_of_spelling(server, method, target)
        for target in spellings("/v1/status")
    }
    # What is no spelling of it leads nowhere: 404, or 405 where a graph may be asked with POST.
    assert {target for target, status in statuses.items() if status < 400} == set()
    assert statuses["/v1/status/"] == statuses["/v1//status"] == 401


@pytest.mark.parametrize("scope", [KeyScope.ALL_BUT_HEALTH, KeyScope.ALL])
@pytest.mark.parametrize("path", ["/v1/config", "/v3/models"])
async def test_no_spelling_of_a_protected_path_leads_around_the_key(
    path: str, server: Server
) -> None:
    for target in spellings(path):
        assert await status_of_spelling(server, "GET", target) in (401, 404), target


@pytest.mark.parametrize("path", ["/v1/config/reload", "/v1/config/check"])
async def test_no_spelling_of_a_change_leads_around_the_key(path: str, server: Server) -> None:
    for target in spellings(path):
        assert await status_of_spelling(server, "POST", target) == 401, target


@pytest.mark.parametrize("scope", [KeyScope.ALL_BUT_HEALTH])
@pytest.mark.parametrize("target", ["/v2/health/live", "/v2//health/live/", "/v2/health/%6Cive"])
async def test_every_spelling_of_a_probe_needs_no_key(target: str, server: Server) -> None:
    assert await status_of_spelling(server, "GET", target) == 200
