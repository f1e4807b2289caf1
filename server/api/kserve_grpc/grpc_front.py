"""The gRPC server of the front of several replicas: it passes calls on as they are."""

import socket
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from server.api.clients.api_keys import ApiKey
from server.api.kserve_grpc.calls import INFERS, CallError, Calls
from server.api.kserve_grpc.grpc_server import MAX_MESSAGE_BYTES, GrpcListener
from server.api.kserve_grpc.messages import POOL, SERVICE
from server.api.kserve_grpc.missing_methods import MissingMethods
from server.api.kserve_grpc.settings import GrpcSettings
from server.api.replicas.backend import Backend
from server.api.replicas.front_facts import FRONT_HEADERS, facts_headers
from server.api.replicas.prompt_outline import PromptOutline
from server.api.replicas.routing import Router
from server.api.request_facts import RequestFacts
from server.errors import ServingError

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
# What a replica offers, see GrpcServer.
SERVICES = (
    POOL.FindServiceByName(SERVICE),
    *health_pb2.DESCRIPTOR.services_by_name.values(),
    *reflection_pb2.DESCRIPTOR.services_by_name.values(),
)
ANY_REQUEST = PromptOutline()


class _LostError(Exception):
    """The replica ended before it had sent anything."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(f"{backend.name} ended while it worked on this call")
        self.backend = backend


class _CountedStream:
    """The messages of a stream, each counted for its key and held until the next one is taken.

    `refusal` says why one was not passed on.
    """

    def __init__(self, calls: Calls, key: ApiKey | None, requests: AsyncIterator[bytes]) -> None:
        self._calls = calls
        self._key = key
        self._requests = requests
        self._held = ExitStack()
        self._is_closed = False
        self.refusal: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for message in self._requests:
            self._held.close()
            if self._is_closed:
                return
            try:
                self._calls.count_for_key(self._key)
                self._held.enter_context(self._calls.hold(len(message)))
            except (CallError, ServingError) as error:
                self.refusal = error
                raise
            yield message

    def close(self) -> None:
        """Hold nothing more; gRPC may still take a message of a call that has ended."""
        self._is_closed = True
        self._held.close()


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

    async def pass_on(self, method: str, message: bytes, context: Any) -> None:
        """Pass on a call of one message. If its replica ends before it answers, another gets it."""
        name = _name_of(method)

        async def work(facts: RequestFacts) -> None:
            if name in INFERS:
                self._calls.count_for_key(facts.key)
            with self._calls.hold(len(message)):
                try:
                    return await self._ask(method, _only(message), context, facts)
                except _LostError as error:
                    lost = error.backend
                return await self._ask(method, _only(message), context, facts, lost)

        await self._run(name, context, work)

    async def pass_on_stream(
        self, method: str, requests: AsyncIterator[bytes], context: Any
    ) -> None:
        """Pass on the messages of a call one by one, as its replica takes them."""
        name = _name_of(method)

        async def work(facts: RequestFacts) -> None:
            key = facts.key if name in INFERS else None
            with closing(_CountedStream(self._calls, key, requests)) as counted:
                try:
                    await self._ask(method, counted, context, facts)
                except BaseException:
                    # gRPC has cancelled the call then, and tells nothing of the reason.
                    if counted.refusal is not None:
                        raise counted.refusal from None
                    raise

        await self._run(name, context, work)

    async def _run(
        self, name: str, context: Any, work: Callable[[RequestFacts], Awaitable[None]]
    ) -> None:
        async def work_or_fail(facts: RequestFacts) -> None:
            try:
                await work(facts)
            except _LostError as error:
                raise CallError(grpc.StatusCode.UNAVAILABLE, str(error)) from error

        await self._calls.run(name, context, work_or_fail)

    async def _ask(
        self,
        method: str,
        messages: AsyncIterable[bytes],
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
                messages,
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


async def _only(message: bytes) -> AsyncIterator[bytes]:
    yield message


def _name_of(method: str) -> str:
    return method.rpartition("/")[2]


class _AllMethods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Every method that a replica has; messages are not parsed."""

    def __init__(self, front: GrpcFront) -> None:
        self._front = front
        self._missing = MissingMethods()
        self._takes_stream = {
            f"/{service.full_name}/{method.name}": method.client_streaming
            for service in SERVICES
            for method in service.methods
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """What gRPC calls for every call."""
        method = details.method
        if method not in self._takes_stream:
            return self._missing.service(details)
        if self._takes_stream[method]:
            pass_on_stream = partial(self._front.pass_on_stream, method)
            return grpc.stream_stream_rpc_method_handler(pass_on_stream)
        # The library reads a single message, however many a client sends.
        return grpc.unary_stream_rpc_method_handler(partial(self._front.pass_on, method))
