"""TLS: the server's certificate and its key, and whether clients need a certificate, too."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from server.errors import ConfigError

__all__ = ["ServerContext", "Tls", "TlsFiles"]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files in PEM form. `ca_certs` has the authorities that sign the certificates of clients."""

    certfile: Path
    keyfile: Path
    ca_certs: Path | None = None
    cert_reqs: ssl.VerifyMode = ssl.CERT_NONE

    def paths(self) -> list[Path]:
        """All files."""
        found = [self.certfile, self.keyfile]
        return found if self.ca_certs is None else [*found, self.ca_certs]


class Tls:
    """What the files held when they were last read without a mistake.

    `context` is for Python's servers; `certificate`, `key` and `authorities` are PEM for gRPC.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Raises ConfigError."""
        self.files = files
        self.reload()

    def reload(self) -> None:
        """Read the files again, for new connections. Raises ConfigError, and changes nothing."""
        files = self.files
        certificate = _read(files.certfile, "--ssl_certfile", b"CERTIFICATE-----")
        key = _read(files.keyfile, "--ssl_keyfile", b"PRIVATE KEY-----")
        authorities = None
        if files.ca_certs is not None:
            authorities = _read(files.ca_certs, "--ssl_ca_certs", b"CERTIFICATE-----")
        self.context = _make_context(files)
        self.certificate, self.key, self.authorities = certificate, key, authorities


class ServerContext(ssl.SSLContext):
    """Makes each connection with the current context of a `Tls`: those that run keep theirs."""

    def __new__(cls, _: Tls) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, tls: Tls) -> None:
        self._tls = tls

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self._tls.context.wrap_bio(*args, **kwargs)


def _read(file: Path, flag: str, marker: bytes) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{flag} {file}: cannot be read: {error.strerror}") from error
    if marker not in data:
        what = "certificate" if b"CERT" in marker else "private key"
        raise ConfigError(f"{flag} {file}: holds no {what} in PEM form")
    return data


def _make_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])

    def refuse_password() -> str:
        # Else OpenSSL asks for it in the terminal.
        raise ConfigError(f"--ssl_keyfile {files.keyfile}: is encrypted; it must have no password")

    try:
        context.load_cert_chain(files.certfile, files.keyfile, refuse_password)
    except ssl.SSLError as error:
        where = f"--ssl_certfile {files.certfile}, --ssl_keyfile {files.keyfile}"
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"{where}: the key is not that of the certificate") from error
        raise ConfigError(f"{where}: cannot be used: {error.reason or error}") from error
    except OSError as error:
        raise ConfigError(f"--ssl_certfile {files.certfile}: {error.strerror}") from error
    if files.ca_certs is not None:
        try:
            context.load_verify_locations(files.ca_certs)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(
                f"--ssl_ca_certs {files.ca_certs}: cannot be used: {error}"
            ) from error
    context.verify_mode = files.cert_reqs
    return context
