"""Extra slashes in paths, and the id of a request."""

import logging

import pytest
from support.serving import Server

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "a b"}], "max_tokens": 2}


@pytest.mark.parametrize(
    "path",
    [
        "/v3/chat/completions/",
        "/v3//chat/completions",
        "//v3/chat/completions",
        "/v3/v1/chat/completions//",
    ],
)
async def test_extra_slashes(server: Server, path: str) -> None:
    async with server.http.post(server.url + path, json=CHAT) as response:
        assert response.status == 200
        assert (await response.json())["object"] == "chat.completion"


async def test_a_raw_graph_with_a_slash_at_the_end(server: Server) -> None:
    async with server.http.post(f"{server.url}/v3/raw/deep/?q=1", data=b"x") as response:
        assert response.status == 200


async def test_wrong_methods_stay_wrong(server: Server) -> None:
    async with server.http.get(f"{server.url}/v3/chat/completions/") as response:
        assert response.status == 405


@pytest.mark.parametrize("path", ["/v3/chat/completions", "/v3/nowhere", "/v2/models/none"])
async def test_every_answer_has_an_id(server: Server, path: str) -> None:
    async with server.http.post(path, json=CHAT) as one, server.http.post(path, json=CHAT) as other:
        ids = {one.headers["X-Request-Id"], other.headers["X-Request-Id"]}
    assert all(len(request_id) == 32 for request_id in ids)
    assert len(ids) == 2


async def test_the_clients_id(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "server.access")
    headers = {"X-Request-Id": "job-17/a"}
    body = {**CHAT, "stream": True}
    async with server.http.post("/v3/chat/completions", json=body, headers=headers) as response:
        assert response.headers["X-Request-Id"] == "job-17/a"
        await response.read()
    assert any(" id=job-17/a" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, "ä"])
async def test_an_id_that_cannot_be_used_is_replaced(server: Server, bad: str) -> None:
    headers = {"X-Request-Id": bad}
    async with server.http.post("/v3/chat/completions", json=CHAT, headers=headers) as response:
        assert len(response.headers["X-Request-Id"]) == 32


async def test_anthropics_errors(server: Server) -> None:
    status, answer = await server.post("/v1/messages", {**CHAT, "model": "none"})
    assert (status, answer["type"], answer["error"]["type"]) == (404, "error", "not_found_error")
    async with server.http.post("/v1/messages/batches", json={}) as response:
        answer = await response.json()
        assert (response.status, answer["error"]["type"]) == (404, "not_found_error")
        assert response.headers["Request-Id"] == answer["request_id"]


@pytest.mark.parametrize("path", ["/v1/models/m:classify", "//v1/models//m:classify/"])
async def test_what_tensorflow_serving_has(server: Server, path: str) -> None:
    async with server.http.post(server.url + path, json={}) as response:
        assert response.status == 404
        assert ":classify is not here; :predict is" in await response.text()
