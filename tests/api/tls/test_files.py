"""Files of certificates that cannot be used."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from support.security.certificates import Certificate

from server.api.clients.tls import Tls, TlsFiles
from server.errors import ConfigError

Made = Callable[[Certificate, Certificate, Certificate, Path], TlsFiles]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda a, _, __, f: TlsFiles(f / "none", a.key), "--ssl_certfile .*No such file"),
        (lambda a, _, __, f: TlsFiles(a.cert, f / "none"), "--ssl_keyfile .*No such file"),
        (lambda a, _, __, ___: TlsFiles(a.key, a.key), "--ssl_certfile .*holds no certificate"),
        (lambda a, _, __, ___: TlsFiles(a.cert, a.cert), "--ssl_keyfile .*holds no private key"),
        (lambda a, b, _, __: TlsFiles(a.cert, b.key), "the key is not that of the certificate"),
        (lambda _, __, e, ___: TlsFiles(e.cert, e.key), "is encrypted"),
        (lambda a, _, __, f: TlsFiles(f / "broken", a.key), "--ssl_certfile .*cannot be used"),
        (lambda a, _, __, f: TlsFiles(a.cert, a.key, f / "broken"), "--ssl_ca_certs .*broken"),
        (lambda a, _, __, f: TlsFiles(a.cert, a.key, f), "--ssl_ca_certs .*Is a directory"),
    ],
)
def test_mistakes(
    make: Made,
    problem: str,
    first: Certificate,
    second: Certificate,
    encrypted: Certificate,
    tmp_path: Path,
) -> None:
    text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (tmp_path / "broken").write_text(text)
    with pytest.raises(ConfigError, match=problem):
        Tls(make(first, second, encrypted, tmp_path))


def test_a_broken_reload_changes_nothing(
    first: Certificate, second: Certificate, tmp_path: Path
) -> None:
    files = TlsFiles(tmp_path / "cert", tmp_path / "key")
    files.certfile.write_bytes(first.cert.read_bytes())
    files.keyfile.write_bytes(first.key.read_bytes())
    tls = Tls(files)
    context = tls.context
    files.certfile.write_bytes(second.cert.read_bytes())
    with pytest.raises(ConfigError):
        tls.reload()
    assert (tls.context, tls.certificate) == (context, first.cert.read_bytes())
    files.keyfile.write_bytes(second.key.read_bytes())
    tls.reload()
    assert (tls.context is context, tls.certificate) == (False, second.cert.read_bytes())
    assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_2
