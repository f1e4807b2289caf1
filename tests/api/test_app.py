"""Routes, errors of HTTP itself, raw graphs, status."""

import asyncio
import gzip
import io
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.api_document import check_answer
from support.fakes import echo_graph, write_graph, write_repository
from support.serving import DOCUMENT, Server, running_server
from yarl import URL

from server.api.http_server import open_sockets
from server.errors import ReloadError
from server.host.version import DISTRIBUTION
from server.models.config import load_config
from server.models.model_manager import ModelManager

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("prefix", ["/v3", "/v1", "/v3/v1"])
async def test_models(server: Server, prefix: str) -> None:
    async with server.http.get(f"{prefix}/models") as response:
        listed = await response.json()
    assert listed["object"] == "list"
    assert [m["id"] for m in listed["data"]] == [
        "echo",
        "org/describe",
        "parsed",
        "raw",
        "raw/deep",
    ]
    for model in listed["data"]:
        keys = {"id", "object", "created", "max_model_len", "owned_by", "parent", "root"}
        assert set(model) == keys
        assert model["owned_by"] == DISTRIBUTION
        # When it was loaded, not when it was asked for.
        assert model["created"] == server.manager.get(model["id"]).created


@pytest.mark.parametrize("name", ["org/describe", "org%2Fdescribe"])
async def test_model_with_a_slash(server: Server, name: str) -> None:
    async with server.http.get(URL(f"{server.url}/v1/models/{name}", encoded=True)) as response:
        assert (await response.json())["id"] == "org/describe"


@pytest.mark.parametrize("expectation", [b"100-continue", b"a miracle", b"\xff"])
@pytest.mark.parametrize(("path", "status"), [(b"/v1/config", b"200 OK"), (b"/no", b"404 ")])
async def test_expectations(server: Server, expectation: bytes, path: bytes, status: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n")
    writer.write(b"Expect: " + expectation + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert b"HTTP/1.1 " + status in answer
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\n") == (expectation == b"100-continue")


async def test_unknown_model(server: Server) -> None:
    async with server.http.get("/v1/models/ecko") as response:
        assert response.status == 404
        error = (await response.json())["error"]
    assert error == {
        "message": "there is no model 'ecko'; did you mean 'echo'?",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    status, answer = await server.post("/v1/chat/completions", {**CHAT, "model": "ecko"})
    assert (status, answer["error"]["code"]) == (404, "model_not_found")


async def test_model_that_failed_to_load(server: Server) -> None:
    async with server.http.post("/v1/chat/completions", json={**CHAT, "model": "broken"}) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "no weights" in (await answer.json())["error"]["message"]


async def test_config_status(server: Server) -> None:
    async with server.http.get("/v1/config") as response:
        status = await response.json()
    assert list(status) == sorted(status)
    assert status["echo"] == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": "OK"},
            }
        ]
    }
    (broken,) = status["broken"]["model_version_status"]
    assert "no weights" in broken.pop("reason")
    assert broken == {
        "version": "1",
        "state": "LOADING",
        "status": {
            "error_code": "FAILED_PRECONDITION",
            "error_message": "FAILED_PRECONDITION",
        },
    }


async def test_the_process_lives_though_a_model_is_broken(server: Server) -> None:
    async with server.http.get("/v2/health/live") as response:
        assert (response.status, await response.read()) == (200, b"")


@pytest.mark.parametrize("path", ["/health", "/v2/health/ready"])
async def test_a_broken_model_makes_the_server_not_ready(server: Server, path: str) -> None:
    async with server.http.get(path) as response:
        status, answer = response.status, await response.json()
    check_answer(DOCUMENT, "GET", path, status, "application/json", answer)
    assert (status, answer["error"]) == (503, "1 of 6 models cannot serve")
    assert list(answer["models"]) == ["broken"]
    assert "no weights" in answer["models"]["broken"]


async def test_reloads_and_readiness(tmp_path: Path) -> None:
    """A failed reload leaves the server ready, a broken new model does not until it is mended."""
    manager = ModelManager(load_config(write_repository(tmp_path, {"echo": echo_graph()})))
    await manager.load_all()
    write_graph(tmp_path / "echo", echo_graph(fail="no weights"))
    with pytest.raises(ReloadError):
        await manager.reload(retry_failed=False)
    assert manager.why_not_ready() is None
    write_repository(tmp_path, {"echo": echo_graph(), "new": echo_graph(fail="no weights")})
    with pytest.raises(ReloadError):
        await manager.reload(retry_failed=False)
    assert manager.why_not_ready() == "1 of 2 models cannot serve"
    write_graph(tmp_path / "new", echo_graph())
    await manager.reload(retry_failed=False)
    assert manager.why_not_ready() is None
    await manager.close(0)


async def test_server_metadata(server: Server) -> None:
    async with server.http.get("/v2") as response:
        assert set(await response.json()) == {"name", "version", "extensions"}


async def test_probes_while_models_load_and_while_the_server_stops(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"echo": echo_graph()})
    manager = ModelManager(load_config(config))
    async with running_server(manager) as server:

        async def probe() -> list[int]:
            statuses = []
            for path in ("/v2/health/live", "/v2/health/ready", "/health"):
                async with server.http.get(path) as response:
                    statuses.append(response.status)
            return statuses

        assert await probe() == [200, 503, 503]
        status, answer = await server.post("/v1/chat/completions", CHAT)
        assert (status, answer["error"]["message"]) == (503, "model 'echo' is not loaded yet")
        await manager.load_all()
        assert await probe() == [200, 200, 200]

        waiting = {**CHAT, "messages": [{"role": "user", "content": "hello !wait"}], "stream": True}
        running = asyncio.create_task(server.post_text("/v1/chat/completions", waiting))
        await server.until_running(1)
        closing = asyncio.create_task(manager.close(0.5))
        await asyncio.sleep(0)
        assert await probe() == [200, 503, 503]
        status, answer = await server.post("/v1/chat/completions", CHAT)
        assert (status, answer["error"]["message"]) == (503, "the server is shutting down")
        await closing
        assert '"error"' in await running


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v3/chat/completions", "POST"),
        ("DELETE", "/v1/completions", "POST"),
        ("POST", "/v1/models", "GET,HEAD"),
        ("PUT", "/v3/models/echo", "GET,HEAD"),
        ("POST", "/v1/config", "GET,HEAD"),
        ("POST", "/health", "GET,HEAD"),
    ],
)
async def test_wrong_method(server: Server, method: str, path: str, allow: str) -> None:
    async with server.http.request(method, path) as response:
        assert response.status == 405
        assert response.headers["Allow"] == allow
        assert (await response.json())["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/x", "/v22", "/v4/models", "/v1/", "/chat/completions"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unknown_path(server: Server, method: str, path: str) -> None:
    async with server.http.request(method, path) as response:
        assert response.status == 404
        assert "nothing at" in (await response.json())["error"]["message"]


async def test_head_and_options(server: Server) -> None:
    async with server.http.head("/v1/models") as response:
        assert (response.status, await response.read()) == (200, b"")
    async with server.http.options("/v1/chat/completions") as response:
        assert (response.status, response.headers["Allow"]) == (200, "POST")
    async with server.http.options("/nothing") as response:
        assert response.status == 404


async def test_content_type_does_not_matter(server: Server) -> None:
    for headers in ({"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": ""}):
        status, _ = await server.post("/v1/chat/completions", CHAT, headers=headers)
        assert status == 200


BAD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"\xff",
    b'{"model": "echo", "messages": [NaN]}',
    b'{"model": "echo", "messages": "\\ud800"}',
    b'{"model": "\\ud800", "messages": []}',
    b'{"\\ud800": 1}',
    b'{"model": "echo", "max_tokens": ' + b"9" * 5000 + b"}",
    b"[" * 500_000,
    b'{"a":' * 50_000,
]


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions"])
async def test_bad_bodies_get_400(server: Server, endpoint: str) -> None:
    for body in BAD_BODIES:
        status, answer = await server.post(f"/v1/{endpoint}", body)
        assert status == 400, body[:50]
        assert set(answer["error"]) == {"message", "type", "param", "code"}


async def test_body_that_is_too_large(server: Server) -> None:
    body = io.BytesIO(b" " * (64 * 2**20 + 1))
    async with server.http.post("/v1/chat/completions", data=body) as response:
        assert response.status == 413
        assert (await response.json())["error"]["code"] == "request_too_large"


async def test_compressed_body_is_refused(server: Server) -> None:
    for body in (b"no gzip", gzip.compress(json.dumps(CHAT).encode())):
        headers = {"Content-Encoding": "gzip"}
        status, answer = await server.post("/v1/chat/completions", body, headers=headers)
        assert status == 400
        assert "Content-Encoding 'gzip' is not supported" in answer["error"]["message"]


@pytest.mark.parametrize(
    "request_text",
    [
        "nonsense\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "GET /v1/models/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /v1/models/%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /\x00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /" + "a" * 100_000 + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /v1/config HTTP/1.1\r\nHost: x\r\nX-Long: " + "a" * 9000 + "\r\n\r\n",
    ],
    ids=lambda text: text[:40],
)
async def test_broken_http_is_the_clients_fault(server: Server, request_text: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request_text.encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.split()[1].startswith(b"4")
    error = json.loads(body)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert len(error["message"]) < 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v3/raw", b"anything"),
        ("/v1/raw", b"{}"),
        ("/v3/v1/raw", b'{"model": null}'),
        ("/v3/raw/deep?x=1", b"{broken"),
        ("/v3/some/path", b'{"model": "raw"}'),
        ("/v3/some/path", b' {"model": "raw/deep"}'),
    ],
)
async def test_raw_graph(server: Server, path: str, body: bytes) -> None:
    headers = [("X-Test", "yes"), ("X-Test", "and no")]
    status, answer = await server.post(path, body, headers=headers)
    assert status == 200
    plain, _, query = path.partition("?")
    assert answer == {
        "method": "POST",
        "path": plain,
        "query": query,
        "test_header": "yes, and no",
        "body": body.decode(),
    }


async def test_raw_graph_that_answers_in_pieces(server: Server) -> None:
    async with server.http.post("/v3/raw", data=b"pieces") as response:
        assert (response.status, response.headers["Content-Type"]) == (202, "text/plain")
        assert await response.text() == "0\n1\n2\n"


async def test_raw_graph_that_fails(server: Server) -> None:
    status, answer = await server.post("/v3/raw", b"fail")
    assert (status, answer["error"]["message"]) == (400, "the graph does not like it")
    status, answer = await server.post("/v3/raw", b"silent")
    assert (status, answer["error"]["message"]) == (500, "the graph ended without an answer")


async def test_raw_graph_that_fails_late_breaks_the_connection(server: Server) -> None:
    with pytest.raises(aiohttp.ClientError):
        async with server.http.post("/v3/raw", data=b"pieces then fail") as response:
            await response.read()


@pytest.mark.parametrize(
    ("path", "body", "status", "problem"),
    [
        ("/v3/embedding", {"model": "echo"}, 400, "'echo' does not serve 'embedding'"),
        ("/v3/echo", {}, 400, "'echo' does not serve 'echo'"),
        ("/v3/embedding", {"model": "x"}, 404, "there is no model 'x'"),
        ("/v3/embedding", {}, 404, "neither an endpoint nor a model"),
        ("/v1/chat/completion", CHAT, 400, "'echo' does not serve 'chat/completion'"),
        ("/v1/chat/completion", {}, 404, "did you mean 'chat/completions'"),
        ("/v3/image/generations", {}, 404, "did you mean 'images/generations'"),
        ("/v3/x", {"model": 5}, 400, "model must be a string"),
        (
            "/v3/raw",
            b'{"x": ' + b"[" * 1_000_000,
            400,
            "more than 600000 lists, objects and members",
        ),
        ("/v3/x", {"model": "broken"}, 503, "no weights"),
        ("/v3/chat/completions", {**CHAT, "model": "raw"}, 400, "does not serve this endpoint"),
    ],
)
async def test_graph_and_endpoint_that_do_not_fit(
    server: Server, path: str, body: Any, status: int, problem: str
) -> None:
    found, answer = await server.post(path, body)
    assert found == status
    assert problem in answer["error"]["message"]


async def test_node_that_becomes_sick(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"echo": echo_graph(sick_file="sick")})
    manager = ModelManager(load_config(config))
    await manager.load_all()
    async with running_server(manager) as server:
        assert (await server.post("/v1/chat/completions", CHAT))[0] == 200
        assert manager.is_ready
        (tmp_path / "echo/sick").touch()
        assert "it is sick" in manager.unready_models()["echo"]
        status, answer = await server.post("/v1/chat/completions", CHAT)
        assert status == 503
        assert "it is sick" in answer["error"]["message"]
        async with server.http.get("/v1/config") as response:
            (version,) = json.loads(await response.text())["echo"]["model_version_status"]
        assert (version["state"], version["status"]["error_code"]) == (
            "LOADING",
            "FAILED_PRECONDITION",
        )
        assert "it is sick" in version["reason"]
        (tmp_path / "echo/sick").unlink()
        assert (await server.post("/v1/chat/completions", CHAT))[0] == 200


def test_sockets_of_a_name_with_several_addresses_share_a_port() -> None:
    sockets = open_sockets(["localhost", "127.0.0.2"], 0)
    assert len({opened.getsockname()[1] for opened in sockets}) == 1
    assert len(sockets) >= 2
    for opened in sockets:
        opened.close()
