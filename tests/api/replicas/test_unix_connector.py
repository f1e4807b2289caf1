"""Connections to a busy process."""

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from server.api.replicas.backend import Backend
from server.api.replicas.unix_connector import PatientUnixConnector


async def test_requests_wait_for_a_process_that_accepts_nothing_for_a_while(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(text="hello")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(path)
        opened.listen(1)
        backend = Backend(0, Path(path))

        async def ask() -> str:
            async with backend.session.get("http://replica/") as told:
                return await told.text()

        asking = [asyncio.create_task(ask()) for _ in range(20)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in asking)
        await web.SockSite(runner, opened, backlog=1).start()
        async with asyncio.timeout(20):
            assert await asyncio.gather(*asking) == ["hello"] * 20
        await backend.close()
        await runner.cleanup()


async def test_the_wait_is_bounded(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as opened, socket.socket(socket.AF_UNIX) as first:
        opened.bind(path)
        opened.listen(0)
        first.connect(path)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=0.1)
        connector = PatientUnixConnector(path)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            with pytest.raises(aiohttp.ClientConnectorError, match="temporarily unavailable"):
                await session.get("http://replica/")


async def test_a_process_that_has_ended_is_not_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(path)
    async with aiohttp.ClientSession(connector=PatientUnixConnector(path)) as session:
        with pytest.raises(aiohttp.ClientConnectorError, match="refused"):
            await session.get("http://replica/")
