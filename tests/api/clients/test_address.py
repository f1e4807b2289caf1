"""Whom the server takes for one client."""

import pytest

from server.api.clients.address import client_of_address, client_of_grpc_peer


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "local"),
        (None, "local"),
    ],
)
def test_client_of_address(host: str | None, client: str) -> None:
    assert client_of_address(host) == client


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:192.0.2.7:5000", "192.0.2.7"),
        ("ipv6:[2001:db8::1]:5000", "2001:db8::/64"),
        ("ipv6:%5B2001:db8::1%5D:5000", "2001:db8::/64"),
        ("unix:/run/socket", "local"),
        ("unix:", "local"),
    ],
)
def test_client_of_grpc_peer(peer: str, client: str) -> None:
    assert client_of_grpc_peer(peer) == client
