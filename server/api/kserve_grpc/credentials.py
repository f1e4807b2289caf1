"""TLS as gRPC wants it: it asks for the certificate at each new connection."""

import ssl
from typing import Any

import grpc

from server.api.clients.tls import Tls

__all__ = ["make_credentials"]


def make_credentials(tls: Tls) -> Any:
    """What `add_secure_port` takes. gRPC cannot ask for a certificate and go on without one."""

    def describe() -> Any:
        pairs = [(tls.key, tls.certificate)]
        return grpc.ssl_server_certificate_configuration(pairs, tls.authorities)

    return grpc.dynamic_ssl_server_credentials(
        describe(),
        describe,
        require_client_authentication=tls.files.cert_reqs is ssl.CERT_REQUIRED,
    )
