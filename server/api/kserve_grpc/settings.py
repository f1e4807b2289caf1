"""What the command line says about gRPC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from server.api.clients.address import Network
from server.api.clients.api_keys import KeyRing
from server.api.clients.client_limits import ClientLimits
from server.api.clients.tls import Tls
from server.api.connections.settings import ConnectionSettings
from server.api.settings import KeyScope

if TYPE_CHECKING:
    from server.api.tracing.request_trace import RequestTracer

__all__ = ["GrpcSettings"]


@dataclass(frozen=True, slots=True)
class GrpcSettings:
    """`memory_quota` is the most bytes of all requests that are worked on at the same time.

    `channel_arguments` are gRPC's own, by name. `request_timeout_s` 0 means no limit. `connections`
    are the bounds of HTTP; those for one client and for reading are not applied to gRPC.
    `unix_addresses` are sockets to listen on, besides ports. `front_secret` is as for HTTP.
    """

    keys: KeyRing | None = None
    key_scope: KeyScope = KeyScope.CHANGES
    trusted_proxies: tuple[Network, ...] = ()
    request_timeout_s: float = 0.0
    access_log: bool = True
    memory_quota: int = 2 * 2**30
    connections: ConnectionSettings = field(default_factory=ConnectionSettings)
    tls: Tls | None = None
    clients: ClientLimits = field(default_factory=ClientLimits)
    tracer: "RequestTracer | None" = None
    unix_addresses: tuple[str, ...] = ()
    front_secret: str | None = None
    channel_arguments: Mapping[str, int | str] = field(default_factory=dict)
