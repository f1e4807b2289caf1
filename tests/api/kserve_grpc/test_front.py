"""The front of replicas passes calls on, and keeps no more of them than it must."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from server.api.clients.api_keys import ApiKey, KeyRing, digest_of
from server.api.http_server import ListenFlags, open_sockets
from server.api.kserve_grpc.grpc_front import GrpcFront
from server.api.kserve_grpc.settings import GrpcSettings
from server.api.replicas.backend import Backend
from server.api.replicas.routing import Router

SERVICE = "inference.GRPCInferenceService"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
KEY = ApiKey(digest_of("secret"), "alice", requests_per_minute=2)


class Replica(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Sends every message back."""

    def __init__(self) -> None:
        self.num_calls: Counter[str] = Counter()
        self.num_messages = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        self.num_calls[details.method] += 1
        return grpc.stream_stream_rpc_method_handler(self.answer)

    async def answer(self, requests: AsyncIterator[bytes], context: Any) -> None:
        await context.send_initial_metadata((("x-request-id", "1"),))
        async for message in requests:
            self.num_messages += 1
            await context.write(message)


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[Replica]:
    replica, server = Replica(), grpc.aio.server()
    server.add_generic_rpc_handlers([replica])
    server.add_insecure_port(f"unix:{tmp_path / 'replica'}")
    await server.start()
    yield replica
    await server.stop(None)


@pytest.fixture
async def channel(replica: Replica, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """To a front that takes two calls a minute of a key."""
    backend = Backend(0, tmp_path / "none", tmp_path / "replica")
    backend.unready, backend.problem, backend.has_loaded = {}, "", True
    (opened,) = open_sockets(["127.0.0.1"], 0, ListenFlags("", ""))
    address = f"127.0.0.1:{opened.getsockname()[1]}"
    front = GrpcFront(Router([backend], 8), "secret", [opened], GrpcSettings(KeyRing([KEY])))
    await front.start()
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel
    await front.stop()


async def test_one_message_of_a_method_that_takes_one_is_read(
    replica: Replica, channel: grpc.aio.Channel
) -> None:
    async def two_without_an_end() -> AsyncIterator[bytes]:
        # grpc's client calls it an internal error of its own when a call ends while it sends.
        yield b"x" * 2**16
        yield b"x" * 2**16
        await asyncio.Event().wait()

    call = channel.stream_stream(f"/{SERVICE}/ServerLive")(two_without_an_end())
    async with asyncio.timeout(60):
        answers = [len(answer) async for answer in call]
    assert answers == [2**16]
    assert replica.num_messages == 1


@pytest.mark.parametrize("method", ["/nobody.Service/Ask", f"/{SERVICE}/RepositoryIndex", "/x"])
async def test_an_unknown_method_is_refused_by_the_front(
    replica: Replica, channel: grpc.aio.Channel, method: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await channel.unary_unary(method)(b"hello", timeout=60)
    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert not replica.num_calls


@pytest.mark.parametrize("method", [f"/{SERVICE}/ModelMetadata", "/grpc.health.v1.Health/Check"])
async def test_a_call_of_one_message_is_passed_on(channel: grpc.aio.Channel, method: str) -> None:
    assert await channel.unary_unary(method)(b"hello", timeout=60) == b"hello"


@pytest.mark.parametrize("method", [f"/{SERVICE}/ModelStreamInfer", REFLECTION])
async def test_a_message_of_a_stream_is_passed_on_before_the_next_one(
    channel: grpc.aio.Channel, method: str
) -> None:
    call = channel.stream_stream(method)(metadata=(("authorization", "Bearer secret"),), timeout=60)
    for message in (b"a", b"b"):
        await call.write(message)
        assert await call.read() == message
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_a_message_above_the_limit_of_its_key_ends_a_stream_with_the_reason(
    replica: Replica, channel: grpc.aio.Channel
) -> None:
    async def three() -> AsyncIterator[bytes]:
        for message in (b"a", b"b", b"c"):
            yield message

    call = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(
        three(), metadata=(("authorization", "Bearer secret"),), timeout=10
    )
    with pytest.raises(grpc.aio.AioRpcError, match="requests_per_minute") as refusal:
        async for _ in call:
            pass
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert replica.num_messages <= 2
