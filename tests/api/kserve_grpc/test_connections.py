"""The bounds of gRPC's connections."""

import asyncio

import pytest
from support.grpc_serving import running_grpc
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from server.api.connections.settings import ConnectionSettings
from server.api.kserve_grpc.settings import GrpcSettings
from server.models.model_manager import ModelManager

# The models are loaded once, for all tests of this folder.
pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_silent_connections_are_closed(manager: ModelManager) -> None:
    settings = GrpcSettings(connections=ConnectionSettings(header_timeout_s=0.5))
    async with running_grpc(manager, settings) as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(60):
            # gRPC sends its settings first.
            await reader.read()
        writer.close()


async def test_connections_above_the_bound_are_refused(manager: ModelManager) -> None:
    settings = GrpcSettings(connections=ConnectionSettings(max_connections=1))
    own_connection = [("grpc.use_local_subchannel_pool", 1)]
    async with running_grpc(manager, settings) as address, InferenceServerClient(address) as first:
        assert await first.is_server_live()
        async with InferenceServerClient(address, channel_args=own_connection) as second:
            with pytest.raises(InferenceServerException):
                await second.is_server_live(client_timeout=2)
        assert await first.is_server_live()
