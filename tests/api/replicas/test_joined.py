"""What the front keeps for replicas that are started again."""

import json
from collections.abc import Sequence

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Handler
from api.replicas.conftest import FakeReplica

from server.api.monitoring.http_requests import HttpNumbers
from server.api.replicas.backend import Backend
from server.api.replicas.joined import Replicas
from server.api.request_facts import REQUEST_FACTS, RequestFacts

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


class Told:
    """Notes what a replica is told about adapters, and accepts it or not."""

    def __init__(self, replica: FakeReplica) -> None:
        self.calls: list[tuple[str, str, bool]] = []
        self.status = 200
        self.backend = replica.backend
        self._replica = replica
        replica.stream = self._answer

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        fields = json.loads(await request.read())
        self.calls.append((request.path, fields["lora_name"], fields.get("load_inplace", False)))
        error = {"message": "no such file", "type": "invalid_request_error", "code": None}
        return web.json_response({"error": error}, status=self.status)

    async def start_again(self) -> None:
        """End, and be found by the front's next look."""
        self.backend.lose("it has ended")
        assert not self.backend.has_loaded
        self.calls.clear()
        await look(self.backend)


async def look(*backends: Backend) -> None:
    for backend in backends:
        await backend._look({})


@web.middleware
async def facts_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    request[REQUEST_FACTS] = RequestFacts("client")
    return await handler(request)


@pytest.fixture
async def told(replicas: list[FakeReplica]) -> Sequence[Told]:
    return [Told(replica) for replica in replicas]


async def test_a_replica_that_is_started_again_gets_its_adapters(
    told: Sequence[Told], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = told
    front = Replicas([each.backend for each in told], "secret", HttpNumbers())
    await look(first.backend, second.backend)
    assert first.calls == second.calls == []
    app = web.Application(middlewares=[facts_middleware])
    for endpoint in front.endpoints():
        if endpoint.path in (LOAD, UNLOAD):
            app.router.add_route(endpoint.method, endpoint.path, endpoint.handler)
    async with TestClient(TestServer(app)) as client:
        for path, name in ((LOAD, "a"), (LOAD, "b"), (UNLOAD, "a")):
            answer = await client.post(path, json={"lora_name": name, "lora_path": name})
            assert answer.status == 200
        both = [(LOAD, "a", False), (LOAD, "b", False), (UNLOAD, "a", False)]
        assert first.calls == second.calls == both
        await first.start_again()
        assert first.backend.has_loaded
        assert first.calls == [(LOAD, "b", True)]
        # Unloaded by one, an adapter must not come back; what one refuses to load is not kept.
        second.status = 400
        for path, name in ((LOAD, "c"), (UNLOAD, "b")):
            answer = await client.post(path, json={"lora_name": name, "lora_path": name})
            assert answer.status == 400
        await first.start_again()
        assert first.calls == []
        second.status = 200
        answer = await client.post(LOAD, json={"lora_name": "b", "lora_path": "b"})
        assert answer.status == 200
    # One that refuses serves without.
    second.status = 400
    await second.start_again()
    assert second.backend.has_loaded
    assert "replica 1 lacks the adapter 'b': no such file" in caplog.text
