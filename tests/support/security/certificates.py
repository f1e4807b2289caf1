"""Certificates, made with openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key; a self-signed one is its own authority."""

    cert: Path
    key: Path


def make_certificate(folder: Path, name: str, *flags: str) -> Certificate:
    """A self-signed certificate for localhost; `name` tells it from others."""
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", made.key, "-out", made.cert, "-days", "2"]
    flags = flags or ("-nodes",)
    subprocess.run([*command, *names, *files, *flags], check=True, capture_output=True)
    return made
