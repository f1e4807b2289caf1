"""The limits of size and time that an operator sets."""

import asyncio
import json

import aiohttp
import pytest
from support.fakes import parse_events
from support.serving import Server

from server.api.settings import HttpSettings


@pytest.fixture
def settings() -> HttpSettings:
    return HttpSettings(max_request_bytes=1000, request_timeout_s=0.5)


def completion(prompt: str, **fields: object) -> bytes:
    return json.dumps({"model": "echo", "prompt": prompt, **fields}).encode()


async def test_size(server: Server) -> None:
    body = completion("hi")
    assert (await server.post("/v3/completions", body.ljust(1000)))[0] == 200
    status, answer = await server.post("/v3/completions", body.ljust(1001))
    assert (status, answer["error"]["code"]) == (413, "request_too_large")
    assert "1000 bytes" in answer["error"]["message"]


async def test_a_request_in_time(server: Server) -> None:
    assert (await server.post("/v3/completions", completion("hi")))[0] == 200


@pytest.mark.parametrize("prompt", ["!wait", "!endless"])
async def test_a_whole_answer_that_takes_too_long(prompt: str, server: Server) -> None:
    status, answer = await server.post("/v3/completions", completion(prompt))
    assert (status, answer["error"]["code"]) == (503, "request_timeout")
    assert "not finished within 0.5 s" in answer["error"]["message"]
    await server.until_running(0)


@pytest.mark.parametrize("path", ["/v3/completions", "/v3/responses"])
async def test_a_stream_that_takes_too_long(path: str, server: Server) -> None:
    field = "input" if path.endswith("responses") else "prompt"
    body = {"model": "echo", field: "a !endless", "stream": True}
    text = await server.post_text(path, body)
    assert "not finished within 0.5 s" in text
    assert "[DONE]" not in text
    await server.until_running(0)


async def test_a_stream_without_any_text(server: Server) -> None:
    status, answer = await server.post("/v3/completions", completion("!wait", stream=True))
    assert (status, answer["error"]["code"]) == (503, "request_timeout")


async def test_the_error_of_a_stream_is_an_event(server: Server) -> None:
    body = {"model": "echo", "prompt": "a !endless", "stream": True}
    *_, last = parse_events(await server.post_text("/v3/completions", body))
    assert last["error"]["code"] == "request_timeout"


async def talk(server: Server, text: bytes, until: bytes = b"") -> bytes:
    """Send the text; returns the answer up to `until`, or all of it until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(text)
    async with asyncio.timeout(20):
        try:
            return await (reader.readuntil(until) if until else reader.read())
        finally:
            writer.close()


async def test_a_body_that_never_arrives(server: Server) -> None:
    head = b"POST /v3/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n"
    # The server waits 10 s for the rest of the body before it hangs up.
    problem = b"the body did not arrive within 0.5 s"
    answer = await talk(server, head + b'{"model": ', until=problem)
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_client_that_does_not_read(server: Server) -> None:
    body = completion("!flood", stream=True)
    head = b"POST /v3/completions HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(head + body)
        await server.until_running(1)
        await server.until_running(0)
        assert b"not finished within 0.5 s" in await reader.read()
    finally:
        writer.close()


async def test_a_raw_answer_that_does_not_end_is_cut(server: Server) -> None:
    async with server.http.post("/v3/raw", data=b"pieces then wait") as response:
        assert response.status == 202
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
