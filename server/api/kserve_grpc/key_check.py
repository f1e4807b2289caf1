"""The API key of a call, in its metadata: `authorization: Bearer <key>`."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from server.api.kserve_grpc.messages import SERVICE
from server.api.middleware.auth import find_key_problem
from server.api.settings import KeyScope

__all__ = ["KeyCheck"]

# What KeyScope.CHANGES protects; over HTTP these calls are POST requests.
CHANGES = frozenset({f"/{SERVICE}/ModelInfer", f"/{SERVICE}/ModelStreamInfer"})
HEALTH = (f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady", "/grpc.health.v1.Health/")

Continuation = Callable[[Any], Awaitable[grpc.RpcMethodHandler | None]]


class KeyCheck(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Refuses calls without the key, before their messages are read."""

    def __init__(self, key: str, scope: KeyScope) -> None:
        self._key = key
        self._scope = scope

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """What gRPC calls for every call."""
        handler = await continuation(details)
        if handler is None or not self._needs_key(details.method):
            return handler
        headers = {name: str(value) for name, value in details.invocation_metadata or ()}
        problem = find_key_problem(headers, self._key)
        return handler if problem is None else _refusal(handler, problem)

    def _needs_key(self, method: str) -> bool:
        if self._scope is KeyScope.CHANGES:
            return method in CHANGES
        return self._scope is KeyScope.ALL or not method.startswith(HEALTH)


def _refusal(handler: grpc.RpcMethodHandler, problem: str) -> grpc.RpcMethodHandler:
    async def refuse(_: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, problem)

    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(refuse)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(refuse)
    return grpc.unary_unary_rpc_method_handler(refuse)
