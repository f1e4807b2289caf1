"""A server on a real socket, in the event loop of the test."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from openai import AsyncOpenAI
from support.api_document import check_answer

from server.api.app import ENDPOINTS, create_app
from server.api.endpoints.openapi import describe_endpoints
from server.api.http_server import HttpServer, open_sockets
from server.api.settings import HttpSettings
from server.models.model_manager import ModelManager

DOCUMENT = describe_endpoints(ENDPOINTS)


@dataclass
class Server:
    """The running server; `http` has its address as base URL."""

    manager: ModelManager
    url: str
    http: aiohttp.ClientSession

    @property
    def port(self) -> int:
        """The port of the server."""
        return int(self.url.rpartition(":")[2])

    async def post(self, path: str, body: Any, **kwargs: Any) -> tuple[int, Any]:
        """Status and JSON of the answer, which /openapi.json has to allow.

        A `body` of bytes goes out as it is.
        """
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.http.post(path, data=io.BytesIO(data), **kwargs) as response:
            answer = await response.json()
            content_type = response.content_type
            check_answer(DOCUMENT, "POST", path, response.status, content_type, answer)
            return response.status, answer

    async def post_text(self, path: str, body: Any) -> str:
        """The answer as text."""
        async with self.http.post(path, json=body) as response:
            assert response.status == 200
            return await response.text()

    async def until_running(self, count: int, name: str = "echo") -> None:
        """Wait until that many requests are in the graph of a model."""
        graph = self.manager.get(name).graph
        async with asyncio.timeout(60):
            while graph.num_running != count:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)

    def openai(self, prefix: str = "/v3") -> AsyncOpenAI:
        """The real client."""
        return AsyncOpenAI(base_url=self.url + prefix, api_key="unused", max_retries=0)


@asynccontextmanager
async def running_server(
    manager: ModelManager, settings: HttpSettings | None = None
) -> AsyncIterator[Server]:
    """Serve the models of a manager until the block ends."""
    sockets = open_sockets(["127.0.0.1"], 0)
    http = HttpServer(create_app(manager, settings), sockets, settings)
    await http.start()
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    try:
        async with aiohttp.ClientSession(url) as session:
            yield Server(manager, url, session)
    finally:
        await manager.close(0)
        await http.stop()
