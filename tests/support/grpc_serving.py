"""A gRPC server in the event loop of the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.api.http_server import open_sockets
from server.api.kserve_grpc.grpc_server import GrpcServer
from server.api.kserve_grpc.settings import GrpcSettings
from server.models.model_manager import ModelManager


@asynccontextmanager
async def running_grpc(
    manager: ModelManager, settings: GrpcSettings | None = None
) -> AsyncIterator[str]:
    """Serve the models of a manager until the block ends; yields the address."""
    sockets = open_sockets(["127.0.0.1"], 0)
    address = f"127.0.0.1:{sockets[0].getsockname()[1]}"
    server = GrpcServer(manager, sockets, settings)
    await server.start()
    try:
        yield address
    finally:
        await server.stop()
