"""Certificates, as the command line names them."""

import argparse
import ssl
from dataclasses import dataclass
from pathlib import Path

from server.api.clients.tls import Tls, TlsFiles
from server.terminal.flag_parser import AddFlag

__all__ = ["TlsArguments", "add_tls_flags"]

REQUIREMENTS = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class TlsArguments:
    """The flags about TLS. Without `ssl_certfile` there is none."""

    ssl_certfile: Path | None
    ssl_keyfile: Path | None
    ssl_ca_certs: Path | None
    ssl_cert_reqs: ssl.VerifyMode | None

    def load(self) -> Tls | None:
        """Read the files. Raises ConfigError."""
        if self.ssl_certfile is None:
            return None
        required = ssl.CERT_NONE if self.ssl_ca_certs is None else ssl.CERT_REQUIRED
        return Tls(
            TlsFiles(
                self.ssl_certfile,
                self.ssl_keyfile or self.ssl_certfile,
                self.ssl_ca_certs,
                required if self.ssl_cert_reqs is None else self.ssl_cert_reqs,
            )
        )

    def find_problem(self) -> str | None:
        """Why these flags cannot be used together."""
        if self.ssl_certfile is None and (self.ssl_keyfile or self.ssl_ca_certs):
            return "--ssl_keyfile and --ssl_ca_certs need --ssl_certfile"
        if self.ssl_cert_reqs and self.ssl_ca_certs is None:
            return "--ssl_cert_reqs needs --ssl_ca_certs, which says whose certificates are valid"
        return None


def add_tls_flags(add: AddFlag) -> None:
    """Add the flags of a `TlsArguments`."""
    add(
        "--ssl_certfile",
        type=Path,
        metavar="FILE",
        help="Certificate of the server, in PEM form, with those between it and the authority: "
        "turns on TLS for HTTP and gRPC. It is read again when it changes.",
    )
    add(
        "--ssl_keyfile",
        type=Path,
        metavar="FILE",
        help="Private key of the certificate (default: in the file of --ssl_certfile).",
    )
    add(
        "--ssl_ca_certs",
        type=Path,
        metavar="FILE",
        help="Authorities that sign the certificates of clients, which then need one.",
    )
    add(
        "--ssl_cert_reqs",
        type=_requirement,
        metavar="WHEN",
        help="Whether clients need a certificate: none, optional or required, or 0, 1, 2 "
        "(default: required with --ssl_ca_certs, else none). gRPC takes optional for none.",
    )


def _requirement(text: str) -> ssl.VerifyMode:
    numbers = {str(int(mode)): mode for mode in REQUIREMENTS.values()}
    found = REQUIREMENTS.get(text, numbers.get(text))
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is none of none, optional, required, 0, 1, 2")
    return found
