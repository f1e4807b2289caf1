"""Keys with names, scopes, models and limits, over HTTP."""

import asyncio
import json
import logging
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from openai import AsyncOpenAI, PermissionDeniedError, RateLimitError
from support.serving import Server

from server.api.clients.api_keys import ApiKey, KeyRing, Scope, digest_of
from server.api.clients.client_limits import ClientLimits
from server.api.request_facts import RequestFacts
from server.api.settings import HttpSettings, KeyScope
from server.errors import ConfigError
from server.payloads import ClassifyRequest, EmbeddingRequest, GenerationRequest, RerankRequest
from server.payloads.client_request import ClientRequest

ECHO = {"model": "echo", "prompt": "hi"}
DESCRIBE = {"model": "org/describe", "prompt": "hi"}


def key_of(name: str, scope: Scope = Scope.USE, **limits: Any) -> ApiKey:
    return ApiKey(digest_of(f"secret-{name}"), name, scope, cache_salt=name, **limits)


@pytest.fixture
def keys() -> KeyRing:
    return KeyRing(
        [
            key_of("reader", Scope.READ),
            key_of("user"),
            key_of("admin", Scope.ADMIN),
            key_of("narrow", models=frozenset(["echo"])),
            key_of("single"),
            key_of("slow", requests_per_minute=2),
        ]
    )


@pytest.fixture
def settings(keys: KeyRing) -> HttpSettings:
    return HttpSettings(keys=keys, clients=ClientLimits(own={"single": 1}))


def headers_of(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer secret-{name}"}


@pytest.mark.parametrize(
    ("name", "use", "reload"),
    [
        ("reader", 403, 403),
        ("user", 200, 403),
        ("admin", 200, 200),
        ("nobody", 401, 401),
    ],
)
async def test_scopes(name: str, use: int, reload: int, server: Server) -> None:
    headers = headers_of(name)
    async with server.http.get("/v1/config", headers=headers) as response:
        assert response.status == 200
    assert (await server.post("/v3/completions", ECHO, headers=headers))[0] == use
    for path in ("/v1/config/reload", "/v1//config/reload/"):
        async with server.http.post(path, headers=headers) as response:
            # A model of the fakes is broken, so that reloading it fails.
            assert response.status == (500 if reload == 200 else reload)


async def test_the_error_of_a_scope(server: Server) -> None:
    _, answer = await server.post("/v3/completions", ECHO, headers=headers_of("reader"))
    assert answer["error"]["code"] == "insufficient_permissions"
    assert "'reader' has the scope read, and this needs use" in answer["error"]["message"]
    message = {"model": "echo", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]}
    headers = {"x-api-key": "secret-reader"}
    status, answer = await server.post("/v1/messages", message, headers=headers)
    assert (status, answer["error"]["type"]) == (403, "permission_error")


async def test_models(server: Server) -> None:
    async with AsyncOpenAI(
        base_url=f"{server.url}/v3", api_key="secret-narrow", max_retries=0
    ) as client:
        assert [model.id async for model in client.models.list()] == ["echo"]
        await client.completions.create(**ECHO)
        with pytest.raises(PermissionDeniedError, match="does not allow the model 'org/describe'"):
            await client.completions.create(**DESCRIBE)
    async with server.http.get("/v3/models", headers=headers_of("user")) as response:
        assert len((await response.json())["data"]) > 1
    for path in ("/v3/models/org/describe", "/v2/models/org/describe"):
        async with server.http.get(path, headers=headers_of("narrow")) as response:
            assert response.status == 403


async def test_requests_at_once(server: Server) -> None:
    headers = headers_of("single")
    endless = {"model": "echo", "prompt": "!wait", "stream": True}
    running = asyncio.create_task(
        server.http.post("/v3/completions", json=endless, headers=headers)
    )
    await server.until_running(1)
    async with server.http.post("/v3/completions", json=ECHO, headers=headers) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "1")
        error = (await response.json())["error"]
    assert error["code"] == "rate_limit_exceeded"
    problem = "above max_concurrent_requests of the API key 'single', which is 1"
    assert problem in error["message"]
    assert (await server.post("/v3/completions", ECHO, headers=headers_of("user")))[0] == 200
    running.cancel()
    await server.until_running(0)
    await asyncio.sleep(0.05)
    assert (await server.post("/v3/completions", ECHO, headers=headers))[0] == 200


async def test_requests_per_minute(server: Server) -> None:
    async with AsyncOpenAI(
        base_url=f"{server.url}/v3", api_key="secret-slow", max_retries=0
    ) as client:
        for _ in range(2):
            await client.completions.create(**ECHO)
        with pytest.raises(RateLimitError, match="requests_per_minute, 2") as error:
            await client.completions.create(**ECHO)
        assert 1 <= int(error.value.response.headers["Retry-After"]) <= 30
        # Reading is free.
        await client.models.list()


async def test_replaced_keys(server: Server, keys: KeyRing) -> None:
    keys.replace([key_of("new")])
    for name, status in (("user", 401), ("new", 200)):
        answer = await server.post("/v3/completions", ECHO, headers=headers_of(name))
        assert answer[0] == status


async def test_the_salt_is_that_of_the_key(server: Server, keys: KeyRing) -> None:
    """The client's own salt adds to it."""

    async def salt_of(name: str, **fields: str) -> str:
        body = {**DESCRIBE, **fields}
        status, answer = await server.post("/v3/completions", body, headers=headers_of(name))
        assert status == 200
        found: str = json.loads(answer["choices"][0]["text"])["cache_salt"]
        return found

    salts = [
        await salt_of("user"),
        await salt_of("user", cache_salt="x"),
        await salt_of("admin"),
        await salt_of("admin", cache_salt="x"),
    ]
    assert salts == ["user\0", "user\0x", "admin\0", "admin\0x"]
    keys.replace([key_of("user")])
    assert await salt_of("user", cache_salt="x") == "x"


@pytest.mark.parametrize(
    "packet",
    [
        GenerationRequest("id", prompt="a"),
        EmbeddingRequest(inputs=("a",)),
        RerankRequest(pairs=(("a", "b"),)),
        ClassifyRequest(inputs=("a",)),
    ],
)
def test_requests_of_every_kind_have_the_salt(packet: ClientRequest) -> None:
    facts = RequestFacts("10.0.0.1")
    facts.identify(key_of("user"), "user")
    (claimed,) = facts.claim([replace(packet, cache_salt="x")])
    assert (claimed.client, claimed.cache_salt) == ("user", "user\0x")


async def test_the_logs(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await server.post("/v3/completions", ECHO, headers=headers_of("user"))
    for _ in range(3):
        await server.post("/v3/completions", ECHO, headers=headers_of("nobody"))
    lines = [r.getMessage() for r in caplog.records]
    assert " key=user " in lines[0]
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == ["Refused 1 request(s) with a wrong API key, the last from 127.0.0.1"]
    assert "secret" not in "".join(lines)


class TestProxies:
    """A proxy tells for whom it asks."""

    @pytest.fixture
    def settings(self, keys: KeyRing) -> HttpSettings:
        return HttpSettings(keys=keys, trusted_proxies=(ip_network("127.0.0.0/8"),))

    async def test_the_client_is_not_the_proxy(
        self, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        headers = {**headers_of("nobody"), "X-Forwarded-For": "198.51.100.1, 192.0.2.7"}
        assert (await server.post("/v3/completions", ECHO, headers=headers))[0] == 401
        assert "the last from 192.0.2.7" in caplog.text


class TestReload:
    """POST /v1/config/reload reads the key file, too."""

    @pytest.fixture
    def settings(self, keys: KeyRing) -> HttpSettings:
        def fail() -> None:
            raise ConfigError("broken key file")

        return HttpSettings(keys=keys, key_scope=KeyScope.ALL, reload_secrets=fail)

    async def test_a_broken_file(self, server: Server) -> None:
        headers = headers_of("admin")
        async with server.http.post("/v1/config/reload", headers=headers) as response:
            assert response.status == 412
            assert "broken key file" in await response.text()
