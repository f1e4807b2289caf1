"""A server process with certificates and several keys, which change while it runs."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.fakes import echo_graph, write_repository
from support.security.certificates import Certificate, make_certificate
from support.server_command import ROOT, command, ready_line, run, started


def write_keys(file: Path, *names: str, max_concurrent_requests: int = 1) -> None:
    new = file.with_suffix(".new")
    new.touch(0o600)
    limit = {"max_concurrent_requests": max_concurrent_requests}
    new.write_text(json.dumps([{"name": n, "key": f"secret-{n}", **limit} for n in names]))
    new.replace(file)


def status_of(url: str, trusted: Certificate, key: str, *prompts: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    body = json.dumps({"model": "m", "prompt": prompts or "hi"}).encode()
    request = urllib.request.Request(f"{url}/v3/completions", body, headers)
    context = ssl.create_default_context(cafile=trusted.cert)
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def wait_for(url: str, trusted: Certificate, key: str) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            if status_of(url, trusted, key) == 200:
                return
        except urllib.error.URLError:
            # The certificate is still the old one.
            pass
        assert time.monotonic() < end
        time.sleep(0.1)


def chat(url: str, *flags: str | Path) -> subprocess.CompletedProcess[str]:
    line = command("chat", "--url", url, "-q", "hello", *flags)
    environment = {**os.environ, "API_KEY": "secret-alice"}
    return subprocess.run(
        line, cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_keys_and_certificates_change(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    used, renewed = (make_certificate(tmp_path, name) for name in ("used", "renewed"))
    first = Certificate(tmp_path / "first.crt", used.key)
    shutil.copy(used.cert, first.cert)
    keys = tmp_path / "keys.json"
    write_keys(keys, "alice")
    flags = ["--api_key_file", keys, "--ssl_certfile", used.cert, "--ssl_keyfile", used.key]
    polling = ["--file_system_poll_wait_seconds", "0.1"]
    with started("--config_path", config, *flags, *polling, "--port", "0") as process:
        url = next(word for word in ready_line(process).split() if "https://" in word)
        assert status_of(url, first, "secret-alice") == 200
        assert status_of(url, first, "secret-bob") == 401
        assert chat(url, "--ssl_ca_certs", first.cert).stdout == "hello\n"
        problem = "self-signed certificate; --ssl_ca_certs names whom to trust"
        assert problem in chat(url).stderr
        assert status_of(url, first, "secret-alice", "one", "two") == 400
        write_keys(keys, "alice", "bob", max_concurrent_requests=2)
        wait_for(url, first, "secret-bob")
        assert status_of(url, first, "secret-alice", "one", "two") == 200
        keys.write_text("[")
        shutil.copy(renewed.cert, used.cert)
        shutil.copy(renewed.key, used.key)
        process.send_signal(signal.SIGHUP)
        wait_for(url, renewed, "secret-bob")
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert "not JSON at line 1" in log
    assert "what was read before stays in use" in log
    assert "Traceback" not in log


def test_a_missing_certificate(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    result = run("--config_path", config, "--ssl_certfile", tmp_path / "missing")
    assert result.returncode == 1
    assert "--ssl_certfile" in result.stderr
    assert "No such file" in result.stderr
