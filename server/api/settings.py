"""What the command line says about HTTP."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from server.api.clients.address import Network
from server.api.clients.api_keys import KeyRing
from server.api.clients.client_limits import ClientLimits
from server.api.clients.tls import Tls
from server.api.connections.settings import ConnectionSettings

if TYPE_CHECKING:
    from server.api.tracing.request_trace import RequestTracer

__all__ = ["CorsSettings", "HttpSettings", "KeyScope"]


class KeyScope(StrEnum):
    """Which requests need the API key."""

    CHANGES = "changes"
    """All that generate or change something: every method but GET and HEAD."""
    ALL_BUT_HEALTH = "all_but_health"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class CorsSettings:
    """What browsers allow pages of other origins; `*` means everything.

    In `origins`, `localhost` means the pages of this machine, on any port.
    """

    origins: tuple[str, ...] = ("localhost",)
    methods: tuple[str, ...] = ("*",)
    headers: tuple[str, ...] = ("*",)
    has_credentials: bool = False


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """`request_timeout_s` 0 means no limit; `access_log` writes a line for each request.

    `body_timeout_s` is how long a body may take, besides a second for every 500 bytes of it.
    Request fields of unknown names are ignored, or the request is refused. `allowed_hosts` are the
    names under which the server may be asked, besides localhost; with None, or `*` in it, any.
    `trusted_proxies` may tell in X-Forwarded-For for whom they ask. `reload_secrets` reads the
    files of keys and certificates again, and raises ConfigError. `has_page` puts a page for people
    at `/`. `tracer` makes a span for each request. With `front_secret` the server is a replica:
    only a front that sends the secret may ask it, and has checked who asks. Adapters may be loaded
    while the server runs from below `lora_folder`; without one, none.
    """

    keys: KeyRing | None = None
    key_scope: KeyScope = KeyScope.CHANGES
    cors: CorsSettings = field(default_factory=CorsSettings)
    allowed_hosts: tuple[str, ...] | None = None
    trusted_proxies: tuple[Network, ...] = ()
    max_request_bytes: int = 64 * 2**20
    request_timeout_s: float = 0.0
    body_timeout_s: float = 60.0
    connections: ConnectionSettings = field(default_factory=ConnectionSettings)
    access_log: bool = True
    refuses_unknown_fields: bool = False
    has_page: bool = True
    tls: Tls | None = None
    reload_secrets: Callable[[], None] | None = None
    clients: ClientLimits = field(default_factory=ClientLimits)
    front_secret: str | None = None
    tracer: "RequestTracer | None" = None
    lora_folder: Path | None = None
