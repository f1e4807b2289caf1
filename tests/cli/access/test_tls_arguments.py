"""Certificates on the command line."""

import ssl

import pytest
from support.command_lines import parse, problem_of


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--ssl_keyfile", "k"], "need --ssl_certfile"),
        (["--ssl_ca_certs", "c"], "need --ssl_certfile"),
        (["--ssl_certfile", "c", "--ssl_cert_reqs", "required"], "needs --ssl_ca_certs"),
        (["--ssl_certfile", "c", "--ssl_cert_reqs", "3"], "'3' is none of none, optional"),
    ],
)
def test_mistakes(flags: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert problem in problem_of(capsys, "--config_path", "x", *flags)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("none", ssl.CERT_NONE),
        ("1", ssl.CERT_OPTIONAL),
        ("2", ssl.CERT_REQUIRED),
    ],
)
def test_requirements(text: str, mode: ssl.VerifyMode) -> None:
    flags = ["--ssl_certfile", "c", "--ssl_ca_certs", "c", "--ssl_cert_reqs", text]
    assert parse("--config_path", "x", *flags).tls.ssl_cert_reqs is mode


def test_no_certificate() -> None:
    assert parse("--config_path", "x").tls.load() is None
