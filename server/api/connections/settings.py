"""What the command line says about connections."""

from dataclasses import dataclass

__all__ = ["ConnectionSettings"]


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Bounds of the HTTP connections; 0 means no bound.

    `max_connections_per_client` does not count for this machine itself, where a proxy may be, nor
    for trusted proxies.
    `memory_quota` is the most bytes of the bodies of all requests. No header may be longer than
    `max_header_bytes`, which has a bound always.
    """

    max_connections: int = 4096
    max_connections_per_client: int = 1024
    header_timeout_s: float = 30.0
    timeout_keep_alive_s: float = 75.0
    write_timeout_s: float = 60.0
    memory_quota: int = 2 * 2**30
    max_header_bytes: int = 8190
