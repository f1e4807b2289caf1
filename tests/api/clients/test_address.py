"""Whom the server takes for one client."""

from ipaddress import ip_network

import pytest

from server.api.clients.address import ClientAddresses, client_of_address, host_of_grpc_peer


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
def test_host_of_grpc_peer(peer: str, client: str) -> None:
    assert client_of_address(host_of_grpc_peer(peer)) == client


@pytest.mark.parametrize(
    ("host", "forwarded_for", "client"),
    [
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("::ffff:10.0.0.1", "192.0.2.7", "192.0.2.7"),
        # Two proxies, and what the client itself sent.
        ("10.0.0.1", "198.51.100.1, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::/64"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7, ", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "local"),
        ("192.0.2.1", "192.0.2.7", "192.0.2.1"),
    ],
)
def test_proxies(host: str, forwarded_for: str, client: str) -> None:
    addresses = ClientAddresses([ip_network("10.0.0.0/8")])
    assert addresses.find(host, forwarded_for) == client
    assert ClientAddresses([]).find(host, forwarded_for) == client_of_address(host)
