"""The gRPC server of the front of several replicas: it passes calls on as they are."""

import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from server.api.kserve_grpc.calls import INFERS, CallError, Calls
from server.api.kserve_grpc.grpc_server import MAX_MESSAGE_BYTES, GrpcListener
from server.api.kserve_grpc.settings import GrpcSettings
from server.api.replicas.backend import Backend
from server.api.replicas.front_facts import FRONT_HEADERS, facts_headers
from server.api.replicas.prompt_outline import PromptOutline
from server.api.replicas.routing import Router
from server.api.request_facts import RequestFacts

__all__ = ["GrpcFront"]

CHANNEL_ARGUMENTS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A replica that was started again is found soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
# Of the connection, or made anew for the next one.
NOT_PASSED_ON = FRONT_HEADERS | {"content-type", "te", "user-agent", "x-request-id"}
STREAMING = "ModelStreamInfer"
ANY_REQUEST = PromptOutline()


class _LostError(Exception):
    """The replica ended before it had sent anything."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(f"{backend.name} ended while it worked on this call")
        self.backend = backend


class GrpcFront(GrpcListener):
    """Passes calls on to replicas. `secret` tells them that the front asks."""

    def __init__(
        self,
        router: Router,
        secret: str,
        sockets: Sequence[socket.socket],
        settings: GrpcSettings,
    ) -> None:
        super().__init__(sockets, settings)
        self._router = router
        self._secret = secret
        self._calls = Calls(settings)
        self._channels: dict[int, grpc.aio.Channel] = {}

    async def stop(self) -> None:
        """Stop listening, and close the connections to the replicas."""
        await super().stop()
        for channel in self._channels.values():
            await channel.close()

    def _add_services(self, server: Any) -> None:
        server.add_generic_rpc_handlers([_AllMethods(self)])

    async def pass_on(self, method: str, requests: AsyncIterator[bytes], context: Any) -> None:
        """Pass on a call of any method. A replica that ends before it answers is replaced, once."""
        name = method.rpartition("/")[2]

        async def work(facts: RequestFacts) -> None:
            if name == STREAMING:
                return await self._ask(method, self._counted(requests, facts), context, facts)
            messages = [message async for message in self._counted(requests, facts, name)]
            with self._calls.hold(sum(map(len, messages))):
                try:
                    return await self._ask(method, messages, context, facts)
                except _LostError as error:
                    return await self._ask(method, messages, context, facts, error.backend)

        async def work_or_fail(facts: RequestFacts) -> None:
            try:
                await work(facts)
            except _LostError as error:
                raise CallError(grpc.StatusCode.UNAVAILABLE, str(error)) from error

        await self._calls.run(name, context, work_or_fail)

    async def _counted(
        self, requests: AsyncIterator[bytes], facts: RequestFacts, name: str = STREAMING
    ) -> AsyncIterator[bytes]:
        async for message in requests:
            if name in INFERS:
                self._calls.count_for_key(facts.key)
            yield message

    async def _ask(
        self,
        method: str,
        messages: Sequence[bytes] | AsyncIterator[bytes],
        context: Any,
        facts: RequestFacts,
        without: Backend | None = None,
    ) -> None:
        backend = self._router.choose(ANY_REQUEST, without)
        metadata = [
            (name, value)
            for name, value in context.invocation_metadata() or ()
            if name not in NOT_PASSED_ON and not name.startswith((":", "grpc-"))
        ]
        metadata += facts_headers(self._secret, facts).items()
        with backend.hold(0):
            call = self._channel(backend).stream_stream(method)(
                messages if isinstance(messages, AsyncIterator) else _each(messages),
                metadata=metadata,
                timeout=context.time_remaining(),
            )
            try:
                await _relay(call, backend, context, facts)
            finally:
                call.cancel()

    def _channel(self, backend: Backend) -> Any:
        if backend.number not in self._channels:
            self._channels[backend.number] = grpc.aio.insecure_channel(
                f"unix:{backend.grpc_socket}", options=CHANNEL_ARGUMENTS
            )
        return self._channels[backend.number]


async def _relay(call: Any, backend: Backend, context: Any, facts: RequestFacts) -> None:
    """Pass the answers on. Raises CallError for a status that is not OK, or _LostError."""
    try:
        async for answer in call:
            facts.is_answered_by_replica = True
            await context.write(answer)
        facts.is_answered_by_replica = True
    except grpc.aio.AioRpcError as error:
        # Each answer of a replica begins with the request's id.
        if not facts.is_answered_by_replica and not error.initial_metadata():
            raise _LostError(backend) from error
        trailing = [(name, value) for name, value in error.trailing_metadata() or ()]
        if trailing:
            facts.is_answered_by_replica = True
            context.set_trailing_metadata(tuple(trailing))
        else:
            # It ended in the middle.
            facts.is_answered_by_replica = False
        raise CallError(error.code(), error.details() or "") from error


async def _each(messages: Sequence[bytes]) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


class _AllMethods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Every method, as streams of messages that are not parsed."""

    def __init__(self, front: GrpcFront) -> None:
        self._front = front

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """What gRPC calls for every call."""
        method = details.method

        async def pass_on(requests: AsyncIterator[bytes], context: Any) -> None:
            await self._front.pass_on(method, requests, context)

        return grpc.stream_stream_rpc_method_handler(pass_on)
