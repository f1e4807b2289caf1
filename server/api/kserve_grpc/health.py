"""gRPC's health service, as Kubernetes and load balancers ask it.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

__all__ = ["Health"]

POLL_INTERVAL_S = 0.5


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # grpc has no types
    """Serving when the server is ready; `services` are the names that may be asked for."""

    def __init__(self, is_ready: Callable[[], bool], services: frozenset[str]) -> None:
        self._is_ready = is_ready
        self._services = services

    async def Check(self, request: Any, context: Any) -> Any:
        """The state now."""
        status = self._status(request.service)
        if status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no service of that name")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: Any, _: Any) -> AsyncIterator[Any]:
        """The state now, and whenever it changes."""
        last = None
        while True:
            status = self._status(request.service)
            if status != last:
                last = status
                yield health_pb2.HealthCheckResponse(status=status)
            await asyncio.sleep(POLL_INTERVAL_S)

    def _status(self, service: str) -> int:
        response = health_pb2.HealthCheckResponse
        if service and service not in self._services:
            return int(response.SERVICE_UNKNOWN)
        return int(response.SERVING if self._is_ready() else response.NOT_SERVING)
