"""Many calls, large ones, and calls that end early."""

import asyncio
from typing import Any
from unittest.mock import Mock

import grpc
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from support.grpc_serving import running_grpc
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from server.api.http_server import open_sockets
from server.api.kserve_grpc.grpc_server import GrpcServer
from server.api.kserve_grpc.settings import GrpcSettings
from server.errors import ConfigError
from server.models.model_manager import ModelManager

# The models are loaded once, for all tests of this folder.
pytestmark = pytest.mark.asyncio(loop_scope="package")


def input_of(array: Any, name: str = "x") -> InferInput:
    tensor = InferInput(name, list(array.shape), "FP32")
    tensor.set_data_from_numpy(array)
    return tensor


async def until_running(manager: ModelManager, count: int) -> None:
    graph = manager.get("repeat").graph
    async with asyncio.timeout(60):
        while graph.num_running != count:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def wait_forever(client: InferenceServerClient, timeout_s: float | None = None) -> Any:
    tensor = input_of(np.zeros(1, np.float32))
    return await client.infer(
        "repeat", [tensor], parameters={"wait_at": 0}, client_timeout=timeout_s
    )


async def test_200_calls_at_once(client: InferenceServerClient) -> None:
    async def call(number: int) -> None:
        x = np.full((2, 3), number, np.float32)
        result = await client.infer("org/add", [input_of(x), input_of(x, "y")])
        assert_array_equal(result.as_numpy("sum"), 2 * x)

    async with asyncio.timeout(30):
        await asyncio.gather(*(call(number) for number in range(200)))


async def test_a_large_message(client: InferenceServerClient) -> None:
    """gRPC's own limit is 4 MiB."""
    x = np.arange(2**22, dtype=np.float32)
    result = await client.infer("repeat", [input_of(x)])
    assert_array_equal(result.as_numpy("x"), x)


async def test_a_cancelled_call_stops_the_run(
    client: InferenceServerClient, manager: ModelManager
) -> None:
    task = asyncio.create_task(wait_forever(client))
    await until_running(manager, 1)
    task.cancel()
    await until_running(manager, 0)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_deadline_stops_the_run(
    client: InferenceServerClient, manager: ModelManager
) -> None:
    with pytest.raises(InferenceServerException) as error:
        await wait_forever(client, timeout_s=0.2)
    assert error.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    await until_running(manager, 0)


class TestSettings:
    """The limits of the command line."""

    @pytest.fixture
    def settings(self) -> GrpcSettings:
        return GrpcSettings(
            request_timeout_s=0.3,
            memory_quota=1000,
            channel_arguments={"grpc.max_receive_message_length": 5000},
        )

    async def test_the_time_limit(self, client: InferenceServerClient) -> None:
        with pytest.raises(InferenceServerException, match=r"not finished within 0.3 s") as error:
            await wait_forever(client)
        assert error.value.status() == "StatusCode.DEADLINE_EXCEEDED"

    async def test_the_memory_quota(
        self, client: InferenceServerClient, manager: ModelManager
    ) -> None:
        waiting = asyncio.create_task(wait_forever(client))
        await until_running(manager, 1)
        large = [input_of(np.zeros(300, np.float32))]
        with pytest.raises(InferenceServerException, match="above --grpc_memory_quota") as error:
            await client.infer("repeat", large)
        assert error.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
        with pytest.raises(InferenceServerException):
            await waiting
        await client.infer("repeat", large)

    async def test_channel_arguments(self, client: InferenceServerClient) -> None:
        with pytest.raises(InferenceServerException) as error:
            await client.infer("repeat", [input_of(np.zeros(2000, np.float32))])
        assert error.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


async def test_a_stop_lets_running_calls_end(own_manager: ModelManager) -> None:
    async with running_grpc(own_manager) as address, InferenceServerClient(address) as client:
        waiting = asyncio.create_task(wait_forever(client))
        await until_running(own_manager, 1)
        closing = asyncio.create_task(own_manager.close(0.3))
        await asyncio.sleep(0)
        with pytest.raises(InferenceServerException, match="shutting down") as error:
            await wait_forever(client)
        assert error.value.status() == "StatusCode.UNAVAILABLE"
        assert not waiting.done()
        await closing
        with pytest.raises(InferenceServerException, match="is shutting down") as error:
            await waiting
        assert error.value.status() == "StatusCode.UNAVAILABLE"


async def test_an_address_that_was_taken_meanwhile(manager: ModelManager, address: str) -> None:
    """The socket that kept it was closed, and another server was quicker."""
    kept = Mock(**{"getsockname.return_value": ("127.0.0.1", int(address.rpartition(":")[2]))})
    with pytest.raises(ConfigError, match=f"gRPC cannot listen on {address}"):
        await GrpcServer(manager, [kept]).start()


@pytest.mark.parametrize("hosts", [["0.0.0.0", "::"], ["::", "0.0.0.0"], ["127.0.0.1", "::1"]])
async def test_several_addresses(manager: ModelManager, hosts: list[str]) -> None:
    sockets = open_sockets(hosts, 0)
    port = sockets[0].getsockname()[1]
    server = GrpcServer(manager, sockets)
    await server.start()
    for host in ("127.0.0.1", "[::1]"):
        async with InferenceServerClient(f"{host}:{port}") as client:
            assert await client.is_server_live()
    await server.stop()


async def test_two_servers_cannot_share_a_port(address: str) -> None:
    with pytest.raises(ConfigError, match="choose another --rest_port"):
        open_sockets(["127.0.0.1"], int(address.rpartition(":")[2]))


async def test_a_compressed_message(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        assert await method(b"", compression=grpc.Compression.Gzip) == b"\x08\x01"
