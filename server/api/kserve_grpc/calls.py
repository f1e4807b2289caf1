"""What all calls have in common: errors as statuses, the time limit, memory, the access log."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from server.api.clients.address import ClientAddresses
from server.api.clients.api_keys import ApiKey, Scope, check_scope
from server.api.errors import api_error
from server.api.kserve_grpc.key_check import (
    client_of_call,
    metadata_of,
    metadatum,
    token_in,
)
from server.api.kserve_grpc.messages import SERVICE
from server.api.kserve_grpc.settings import GrpcSettings
from server.api.middleware.access_log import write_line
from server.api.replicas.front_facts import facts_from_front, is_from_front
from server.api.request_facts import REQUEST_ID_KEY, RequestFacts
from server.api.tracing.operations import INFER
from server.errors import OverloadedError, WrongGraphError
from server.host.current_request import CURRENT_REQUEST

if TYPE_CHECKING:
    from server.api.tracing.attributes import Attributes

__all__ = ["Calls", "describe_error"]

T = TypeVar("T")

CODES: Mapping[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
# A client refuses an answer with more than 8 kB of metadata. The error's message is part of them,
# and each of its bytes may be escaped with three.
MAX_MESSAGE_BYTES = 2000
# What monitoring asks every few seconds.
INFERS = {"ModelInfer", "ModelStreamInfer"}
POLLED = {"ServerLive", "ServerReady", "ModelReady"}


class CallError(Exception):
    """Ends a call with a status that no other exception stands for."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Calls:
    """The calls of a server."""

    def __init__(self, settings: GrpcSettings) -> None:
        self._settings = settings
        self._addresses = ClientAddresses(settings.trusted_proxies)
        self._num_bytes = 0

    async def run(
        self,
        method: str,
        context: Any,
        work: Callable[[RequestFacts], Awaitable[T]],
    ) -> T:
        """Do the work of a call. Its exceptions end the call with a status."""
        facts = self._facts_of(context)
        # A call has a task of its own, so that nothing need be restored.
        CURRENT_REQUEST.set(facts.logged)
        with self._trace(method, context, facts):
            return await self._run(method, context, work, facts)

    async def _run(
        self,
        method: str,
        context: Any,
        work: Callable[[RequestFacts], Awaitable[T]],
        facts: RequestFacts,
    ) -> T:
        named = ((REQUEST_ID_KEY, facts.request_id),)
        context.set_trailing_metadata(named)
        code = grpc.StatusCode.OK
        try:
            await context.send_initial_metadata(named)
            self._check_front(context)
            with self._hold(method, facts):
                return await work(facts)
        except (asyncio.CancelledError, grpc.aio.BaseError) as error:
            # The second is what sending raises to a client that has left.
            code, facts.error = grpc.StatusCode.CANCELLED, "client_gone"
            raise asyncio.CancelledError from error
        except Exception as error:
            code, message = describe_error(error)
            if isinstance(error, OverloadedError):
                retry_after = ("retry-after", str(error.retry_after_s))
                context.set_trailing_metadata((*named, retry_after))
            facts.error = code.name.lower()
            await context.abort(code, message)
            raise AssertionError("abort raises") from error
        finally:
            if self._settings.access_log and not facts.is_answered_by_replica:
                fields = {
                    "method": "GRPC",
                    "path": f"/{SERVICE}/{method}",
                    "status": code.value[0],
                    "grpc_status": code.name,
                }
                is_polled = method in POLLED
                write_line(f"GRPC {method} {code.name}", fields, facts, is_polled=is_polled)

    def _facts_of(self, context: Any) -> RequestFacts:
        secret = self._settings.front_secret
        if secret is not None:
            metadata = dict(context.invocation_metadata() or ())
            return facts_from_front(metadata, secret)
        client = client_of_call(context, self._addresses)
        facts = RequestFacts.named(metadatum(context, REQUEST_ID_KEY), client)
        facts.interface = "gRPC"
        keys = self._settings.keys
        if keys is None:
            return facts
        token = token_in(context.invocation_metadata())
        key = keys.find(token) if token else None
        if key is not None:
            facts.identify(key, keys.cache_salt_of(key))
        return facts

    def _trace(
        self, method: str, context: Any, facts: RequestFacts
    ) -> AbstractContextManager[object]:
        """The span of a call, if it infers and somebody wants spans."""
        tracer = self._settings.tracer
        if tracer is None or method not in INFERS:
            return nullcontext()
        attributes: Attributes = {
            "rpc.system": "grpc",
            "rpc.service": SERVICE,
            "rpc.method": method,
            "gen_ai.operation.name": INFER,
            "gen_ai.provider.name": "openvino",
            "gen_ai.request.id": facts.request_id,
        }
        return tracer.request(INFER, partial(metadata_of, context), facts, attributes)

    def _check_front(self, context: Any) -> None:
        """Raise CallError for a call to a replica that its front did not send."""
        secret = self._settings.front_secret
        if secret is None or is_from_front(dict(context.invocation_metadata() or ()), secret):
            return
        problem = "this is a replica, which only its front may ask"
        raise CallError(grpc.StatusCode.PERMISSION_DENIED, problem)

    def count_for_key(self, key: ApiKey | None) -> None:
        """Count a request for its key. Raises NotAllowedError, ClientLimitError."""
        if key is not None and self._settings.keys is not None:
            check_scope(key, Scope.USE)
            self._settings.keys.count_request(key)

    def _hold(self, method: str, facts: RequestFacts) -> AbstractContextManager[object]:
        """Count a call for its client, if it infers."""
        if method not in INFERS:
            return nullcontext()
        return self._hold_slot(facts)

    @contextmanager
    def _hold_slot(self, facts: RequestFacts) -> Iterator[None]:
        with self._settings.clients.hold(facts.client) as facts.slot:
            yield

    @contextmanager
    def hold(self, num_bytes: int) -> Iterator[None]:
        """Count the bytes of a request while it is worked on. Raises CallError above the limit."""
        quota = self._settings.memory_quota
        if self._num_bytes and self._num_bytes + num_bytes > quota:
            raise CallError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"the requests at work have {self._num_bytes} bytes; {num_bytes} more are above "
                f"--grpc_memory_quota {quota}",
            )
        self._num_bytes += num_bytes
        try:
            yield
        finally:
            self._num_bytes -= num_bytes

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Apply the time limit of a request. Raises CallError."""
        timeout_s = self._settings.request_timeout_s
        try:
            async with asyncio.timeout(timeout_s or None) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            problem = f"the request was not finished within {timeout_s:g} s"
            raise CallError(grpc.StatusCode.DEADLINE_EXCEEDED, problem) from error


def describe_error(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The status for an exception. An error of the server is logged with its traceback."""
    if isinstance(error, CallError):
        code, message = error.code, str(error)
    elif isinstance(error, WrongGraphError):
        code, message = grpc.StatusCode.FAILED_PRECONDITION, str(error)
    else:
        described = api_error(error)
        code = CODES.get(described.status, grpc.StatusCode.INTERNAL)
        message = described.message
    return code, message.encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore")
