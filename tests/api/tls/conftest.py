"""Certificates that no test changes."""

import shutil
from pathlib import Path

import pytest
from support.security.certificates import Certificate, make_certificate


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="session")
def first(folder: Path) -> Certificate:
    return make_certificate(folder, "first")


@pytest.fixture(scope="session")
def second(folder: Path) -> Certificate:
    return make_certificate(folder, "second")


@pytest.fixture(scope="session")
def encrypted(folder: Path) -> Certificate:
    return make_certificate(folder, "encrypted", "-passout", "pass:secret")
