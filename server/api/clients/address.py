"""Which client an address stands for."""

import ipaddress
from urllib.parse import unquote

__all__ = ["client_of_address", "client_of_grpc_peer", "is_loopback"]

# Whoever has one address of an IPv6 network of this size usually has all of them.
IPV6_PREFIX_LENGTH = 64
LOCAL = "local"


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


def client_of_grpc_peer(peer: str) -> str:
    """The client behind gRPC's name of a peer, "ipv4:127.0.0.1:5000" or "ipv6:%5B::1%5D:5000"."""
    _, _, address = unquote(peer).partition(":")
    return client_of_address(address.rpartition(":")[0].strip("[]"))


def is_loopback(host: str) -> bool:
    """Whether the name or address (IPv6 without brackets) always means the machine itself."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
