"""What is logged when a client sends broken HTTP."""

import asyncio
import logging

import pytest
from support.serving import Server

HEAD = b"POST /v3/completions HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "text",
    [
        HEAD + b"Content-Length: -5\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"X: " + b"x" * 20_000 + b"\r\n\r\n",
    ],
    ids=["length", "chunk", "header"],
)
async def test_broken_http_is_one_debug_line(
    text: bytes, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(text)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    assert b" 400 " in answer.splitlines()[0]
    (record,) = [r for r in caplog.records if "broken HTTP" in r.getMessage()]
    assert (record.levelno, record.exc_info) == (logging.DEBUG, None)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_server_errors_keep_their_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        logging.getLogger("server.api.middleware.http_log").exception("Error handling request")
    (record,) = caplog.records
    assert (record.levelno, record.exc_info is not None) == (logging.ERROR, True)
