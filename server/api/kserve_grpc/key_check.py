"""The API key of a call, in its metadata: `authorization: Bearer <key>`."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc

from server.api.clients.address import ClientAddresses, host_of_grpc_peer
from server.api.clients.api_keys import KeyRing, find_token
from server.api.kserve_grpc.messages import SERVICE
from server.api.middleware.auth import describe_key_problem
from server.api.request_facts import REQUEST_ID_KEY, RequestFacts
from server.api.settings import KeyScope
from server.errors import ClientLimitError

__all__ = ["KeyCheck", "client_of_call", "metadata_of", "metadatum", "token_in"]

# What KeyScope.CHANGES protects; over HTTP these calls are POST requests.
CHANGES = frozenset({f"/{SERVICE}/ModelInfer", f"/{SERVICE}/ModelStreamInfer"})
HEALTH = (f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady", "/grpc.health.v1.Health/")

Continuation = Callable[[Any], Awaitable[grpc.RpcMethodHandler | None]]


class KeyCheck(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Refuses calls without the key, before their messages are read."""

    def __init__(self, keys: KeyRing, scope: KeyScope, addresses: ClientAddresses) -> None:
        self._keys = keys
        self._scope = scope
        self._addresses = addresses

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """What gRPC calls for every call."""
        handler = await continuation(details)
        if handler is None or not self._needs_key(details.method):
            return handler
        token = token_in(details.invocation_metadata)
        key = self._keys.find(token) if token else None
        if key is None:
            return self._refuse(handler, token)
        return handler

    def _needs_key(self, method: str) -> bool:
        if self._scope is KeyScope.CHANGES:
            return method in CHANGES
        return self._scope is KeyScope.ALL or not method.startswith(HEALTH)

    def _refuse(self, handler: grpc.RpcMethodHandler, token: str) -> grpc.RpcMethodHandler:
        async def refuse(_: Any, context: Any) -> None:
            facts = RequestFacts.named(metadatum(context, REQUEST_ID_KEY), "")
            named = (REQUEST_ID_KEY, facts.request_id)
            try:
                if token:
                    self._keys.wrong_keys.note(client_of_call(context, self._addresses))
            except ClientLimitError as error:
                retry_after = ("retry-after", str(error.retry_after_s))
                context.set_trailing_metadata((named, retry_after))
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
            context.set_trailing_metadata((named,))
            problem = describe_key_problem(token)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, problem)

        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(refuse)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(refuse)
        return grpc.unary_unary_rpc_method_handler(refuse)


def token_in(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The key in the metadata of a call; "" if there is none."""
    return find_token({name: str(value) for name, value in metadata or ()})


def client_of_call(context: Any, addresses: ClientAddresses) -> str:
    """The address from which a call comes, or for which a trusted proxy makes it."""
    host = host_of_grpc_peer(context.peer())
    return addresses.find(host, metadatum(context, "x-forwarded-for"))


def metadatum(context: Any, name: str) -> str:
    """The value of that name in the metadata of a call; "" if there is none."""
    return next(iter(metadata_of(context, name)), "")


def metadata_of(context: Any, wanted: str) -> list[str]:
    """All values of that name in the metadata of a call."""
    found = context.invocation_metadata() or ()
    return [str(value) for name, value in found if name == wanted]
