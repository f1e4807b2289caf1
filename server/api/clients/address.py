"""Which client an address stands for."""

import ipaddress
from collections.abc import Sequence
from urllib.parse import unquote

__all__ = ["ClientAddresses", "Network", "client_of_address", "host_of_grpc_peer", "is_loopback"]

# Whoever has one address of an IPv6 network of this size usually has all of them.
IPV6_PREFIX_LENGTH = 64
LOCAL = "local"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_of_address(host: str | None) -> str:
    """The IPv4 address, or the /64 network of an IPv6 one; "local" for a Unix socket."""
    try:
        address = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return LOCAL
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_PREFIX_LENGTH), strict=False))


def host_of_grpc_peer(peer: str) -> str:
    """The address in gRPC's name of a peer, "ipv4:127.0.0.1:5000" or "ipv6:%5B::1%5D:5000"."""
    _, _, address = unquote(peer).partition(":")
    return address.rpartition(":")[0].strip("[]")


class ClientAddresses:
    """Finds the clients behind proxies that are trusted to tell them."""

    def __init__(self, trusted_proxies: Sequence[Network]) -> None:
        self._trusted_proxies = trusted_proxies

    def find(self, host: str | None, forwarded_for: str) -> str:
        """The client behind a connection from `host`.

        `forwarded_for` is the header X-Forwarded-For, to whose end each proxy adds whom it serves.
        Anybody can send one: it counts only as far back as trusted proxies have written it.
        """
        if self._trusted_proxies:
            for address in reversed(forwarded_for.split(",")):
                if not self.is_trusted(host) or not address.strip():
                    break
                host = address.strip()
        return client_of_address(host)

    def is_trusted(self, host: str | None) -> bool:
        """Whether the address is a trusted proxy's."""
        try:
            address = ipaddress.ip_address(host or "")
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._trusted_proxies)


def is_loopback(host: str) -> bool:
    """Whether the name or address (IPv6 without brackets) always means the machine itself."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
