"""Starts and stops the gRPC server."""

import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from server.api.clients.address import ClientAddresses
from server.api.connections.settings import ConnectionSettings
from server.api.kserve_grpc.credentials import make_credentials
from server.api.kserve_grpc.health import Health
from server.api.kserve_grpc.key_check import KeyCheck
from server.api.kserve_grpc.messages import POOL, SERVICE
from server.api.kserve_grpc.missing_methods import MissingMethods
from server.api.kserve_grpc.service import InferenceService
from server.api.kserve_grpc.settings import GrpcSettings
from server.errors import ConfigError
from server.host.watch import WATCHDOG
from server.models.model_manager import ModelManager

__all__ = ["MAX_MESSAGE_BYTES", "GrpcListener", "GrpcServer"]

# Model Server's limit.
MAX_MESSAGE_BYTES = 2**30
# How long finished answers may still be sent after everything else has stopped.
LAST_WRITE_TIMEOUT_S = 1.0
HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
DEFAULT_ARGUMENTS = {
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    # Else a second server on the same port starts, and gets every other connection.
    "grpc.so_reuseport": 0,
    # Further calls on a connection wait in the client.
    "grpc.max_concurrent_streams": 1024,
    # Clients open an idle connection again without telling their callers.
    "grpc.max_connection_idle_ms": 600_000,
    # A client whose machine has gone is noticed after both together.
    "grpc.keepalive_time_ms": 60_000,
    "grpc.keepalive_timeout_ms": 20_000,
    # gRPC's default is five minutes, and it hangs up on clients that ask more often.
    "grpc.http2.min_recv_ping_interval_without_data_ms": 10_000,
}


def _connection_arguments(settings: ConnectionSettings) -> dict[str, int]:
    arguments = {}
    if settings.header_timeout_s:
        arguments["grpc.server_handshake_timeout_ms"] = round(settings.header_timeout_s * 1000)
    if settings.max_connections:
        arguments["grpc.max_allowed_incoming_connections"] = settings.max_connections
    return arguments


class GrpcListener(ABC):
    """Listens for gRPC."""

    def __init__(
        self, sockets: Sequence[socket.socket], settings: GrpcSettings | None = None
    ) -> None:
        """`sockets` keep the addresses free until `start`; gRPC takes addresses, not sockets."""
        self._sockets = sockets
        self._settings = settings or GrpcSettings()

    async def start(self) -> None:
        """Start to answer calls. Raises ConfigError if an address was taken a moment ago."""
        settings = self._settings
        arguments = {
            **DEFAULT_ARGUMENTS,
            **_connection_arguments(settings.connections),
            **settings.channel_arguments,
        }
        check = []
        if settings.keys is not None:
            addresses = ClientAddresses(settings.trusted_proxies)
            check.append(KeyCheck(settings.keys, settings.key_scope, addresses))
        self._server = grpc.aio.server(interceptors=check, options=list(arguments.items()))
        self._add_services(self._server)
        for address in (*settings.unix_addresses, *self._free_addresses()):
            try:
                self._listen(address)
            except RuntimeError as error:
                raise ConfigError(f"gRPC cannot listen on {address}: {error}") from error
        await self._server.start()
        for thread in _pollers():
            WATCHDOG.guard(thread, WATCHDOG.fail)

    def _listen(self, address: str) -> None:
        tls = self._settings.tls
        if tls is None:
            self._server.add_insecure_port(address)
        else:
            self._server.add_secure_port(address, make_credentials(tls))

    async def stop(self) -> None:
        """Stop listening and cancel the calls that still run."""
        for thread in _pollers():
            WATCHDOG.release(thread)
        await self._server.stop(LAST_WRITE_TIMEOUT_S)

    def _free_addresses(self) -> list[str]:
        """Close the sockets; returns their addresses."""
        addresses: dict[str, int] = {}
        for opened in self._sockets:
            host, port = opened.getsockname()[:2]
            addresses[host] = port
            opened.close()
        if "::" in addresses:
            # gRPC listens to IPv4 there as well.
            addresses.pop("0.0.0.0", None)
        return [f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in addresses.items()]

    @abstractmethod
    def _add_services(self, server: Any) -> None:
        """Add what answers calls."""


class GrpcServer(GrpcListener):
    """Serves the models of a manager."""

    def __init__(
        self,
        manager: ModelManager,
        sockets: Sequence[socket.socket],
        settings: GrpcSettings | None = None,
    ) -> None:
        super().__init__(sockets, settings)
        self._manager = manager

    def _add_services(self, server: Any) -> None:
        service = InferenceService(self._manager, self._settings)
        handlers = grpc.method_handlers_generic_handler(SERVICE, service.handlers())
        server.add_generic_rpc_handlers([handlers])
        health = Health(lambda: self._manager.is_ready, frozenset({SERVICE, HEALTH_SERVICE}))
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        POOL.AddSerializedFile(health_pb2.DESCRIPTOR.serialized_pb)
        POOL.AddSerializedFile(reflection_pb2.DESCRIPTOR.serialized_pb)
        names = [SERVICE, HEALTH_SERVICE, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server, POOL)
        server.add_generic_rpc_handlers([MissingMethods()])


def _pollers() -> list[threading.Thread]:
    """The thread through which the library's core reaches the event loops of this process."""
    return [thread for thread in threading.enumerate() if "_poll_wrapper" in thread.name]
