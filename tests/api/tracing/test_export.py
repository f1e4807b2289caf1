"""Where traces go, as the flag and OpenTelemetry's variables say it; and what must not hinder."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.sdk.trace.export import SpanExportResult
from support.fakes import echo_graph, write_repository
from support.otlp_receiver import EXPORT, Receiver, receiving, receiving_grpc
from support.server_command import chat, ready_line, started, url_of

from server.api.tracing.export import _Exporter
from server.api.tracing.settings import TracingSettings, _find_settings
from server.errors import ConfigError

VARIABLES = [name for name in os.environ if name.startswith("OTEL_")]
# OpenTelemetry itself would try again for minutes at the end.
WELL_BELOW_OPENTELEMETRYS_S = 25
WITHOUT_EXTRA = """
import sys
sys.modules["opentelemetry.exporter"] = None
from server.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name)


@contextmanager
def serving(
    folder: Path, *flags: str, **variables: str
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    config = write_repository(folder, {"m": echo_graph()})
    environment = {**os.environ, **variables}
    with started("--config_path", config, *flags, env=environment) as process:
        yield process, url_of(ready_line(process))


def stop(process: "subprocess.Popen[str]") -> tuple[str, float]:
    """The log, and how long the end took."""
    start = time.monotonic()
    process.terminate()
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    return log, time.monotonic() - start


def ask(url: str, text: str) -> Any:
    with chat(url, text) as response:
        return json.load(response)


def ask_until_told(process: "subprocess.Popen[str]", url: str) -> str:
    """Ask once; the log up to the line that says that the span could not be sent."""
    ask(url, "hello")
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "Traces cannot be sent" in line:
            break
    return "".join(lines)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port: int = closed.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("collector", "path"), [(receiving, "/v1/traces"), (receiving_grpc, EXPORT)]
)
def test_a_server(
    tmp_path: Path, collector: Callable[[], AbstractContextManager[Receiver]], path: str
) -> None:
    variables = {
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
        "OTEL_SERVICE_NAME": "mine",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=a",
    }
    with collector() as receiver:
        flags = ("--otlp_traces_endpoint", receiver.url, "--log_format", "json")
        with serving(tmp_path, *flags, **variables) as (process, url):
            ask(url, "hello world")
            # The last spans are sent before the end, long before their time.
            log, _ = stop(process)
        (root,) = (span for span in receiver.spans if span.name == "chat m")
    assert set(receiver.paths) == {path}
    assert {headers["x-tenant"] for headers in receiver.headers} == {"a"}
    assert root.resource["service.name"] == "mine"
    (line,) = (x for x in map(json.loads, log.splitlines()) if x["logger"] == "server.access")
    assert (line["trace_id"], line["span_id"]) == (root.trace_id, root.span_id)
    assert line["request_id"] == root.attributes["gen_ai.request.id"]
    assert json.loads(root.attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "hello world"}]}
    ]
    (message,) = json.loads(root.attributes["gen_ai.output.messages"])
    assert (message["role"], message["finish_reason"]) == ("assistant", "stop")
    assert message["parts"][0]["type"] == "text"
    assert "world" in message["parts"][0]["content"]


def test_a_sampler(tmp_path: Path) -> None:
    with receiving() as receiver:
        variables = {"OTEL_TRACES_SAMPLER": "always_off"}
        flags = ("--otlp_traces_endpoint", receiver.url)
        with serving(tmp_path, *flags, **variables) as (process, url):
            ask(url, "hello")
            stop(process)
        assert receiver.spans == []


def test_no_collector(tmp_path: Path) -> None:
    """One warning, and no request or exit that waits."""
    port = free_port()
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
    }
    with serving(tmp_path, **variables) as (process, url):
        log = ask_until_told(process, url)
        # Further batches fail as well.
        for _ in range(5):
            ask(url, "hello")
            time.sleep(0.1)
        rest, seconds = stop(process)
        log += rest
    assert log.count("Traces cannot be sent to http://127.0.0.1:") == 1
    assert "Connection refused" in log
    assert "opentelemetry" not in log
    assert seconds < WELL_BELOW_OPENTELEMETRYS_S


def test_secrets_of_a_url_are_not_in_the_log(tmp_path: Path) -> None:
    port = free_port()
    variables = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1", "OTEL_BSP_SCHEDULE_DELAY": "20"}
    url = f"http://me:pass@127.0.0.1:{port}/v1/traces?token=t0ken"
    with serving(tmp_path, "--otlp_traces_endpoint", url, **variables) as (process, address):
        log = ask_until_told(process, address)
        log += stop(process)[0]
    assert f"Traces are sent to http://127.0.0.1:{port}/v1/traces (" in log
    assert f"Traces cannot be sent to http://127.0.0.1:{port}/v1/traces: " in log
    assert "pass" not in log
    assert "t0ken" not in log


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@c:1/x?key=1", "https://c:1/x"),
        ("u:p@c:4317", "c:4317"),
        ("grpc://u@[::1]:4317", "grpc://[::1]:4317"),
        ("http://c/a@b", "http://c/a@b"),
    ],
)
def test_what_is_shown_of_a_url(monkeypatch: pytest.MonkeyPatch, url: str, shown: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    found = _find_settings(url)
    assert found is not None
    assert found.shown == shown


def test_a_collector_that_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        variables = {"OTEL_BSP_SCHEDULE_DELAY": "20"}
        flags = ("--otlp_traces_endpoint", address)
        with serving(tmp_path, *flags, **variables) as (process, url):
            ask(url, "hello")
            # The span is being sent from here on.
            connection, _ = silent.accept()
            start = time.monotonic()
            with connection:
                ask(url, "hello")
                seconds = time.monotonic() - start + stop(process)[1]
    assert seconds < WELL_BELOW_OPENTELEMETRYS_S


def run_without_extra(folder: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    config = write_repository(folder, {"m": echo_graph()})
    command = [sys.executable, "-c", WITHOUT_EXTRA, "--rest_port", "0"]
    return subprocess.run(
        [*command, "--config_path", str(config), *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_flag_without_the_extra(tmp_path: Path) -> None:
    ended = run_without_extra(tmp_path, "--otlp_traces_endpoint", "http://localhost:4318")
    assert ended.returncode == 1
    assert (
        "--otlp_traces_endpoint needs the packages of the extra [otel]: pip install '.[otel]'"
        in ended.stderr
    )
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("flag", "variables", "expected"),
    [
        (None, {}, None),
        ("http://c:4318", {}, ("http://c:4318/v1/traces", "http/protobuf")),
        ("http://c:4318/", {}, ("http://c:4318/v1/traces", "http/protobuf")),
        ("https://c/x/y", {}, ("https://c/x/y", "http/protobuf")),
        ("http://c:4317", {}, ("http://c:4317", "grpc")),
        ("grpc://c:1", {}, ("http://c:1", "grpc")),
        ("grpcs://c:1", {}, ("https://c:1", "grpc")),
        (
            "http://c:4317",
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            ("http://c:4317/v1/traces", "http/protobuf"),
        ),
        ("http://c:1", {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, ("http://c:1", "grpc")),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"}, (None, "http/protobuf")),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317"}, (None, "grpc")),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, None),
        ("http://c", {"OTEL_SDK_DISABLED": "true"}, None),
    ],
)
def test_settings(
    monkeypatch: pytest.MonkeyPatch,
    flag: str | None,
    variables: dict[str, str],
    expected: tuple[str | None, str] | None,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = _find_settings(flag)
    assert (None if found is None else (found.url, found.protocol)) == expected
    assert found is None or not found.captures_content


def test_a_protocol_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    with pytest.raises(ConfigError, match="'http/json' is not possible; possible: http/protobuf"):
        _find_settings("http://c")


@pytest.mark.slow
def test_a_collector_that_comes_later(tmp_path: Path) -> None:
    """Requests do not wait for it, and the queue of spans that do is short here."""
    port, file = free_port(), tmp_path / "log"
    shown = f"grpc://127.0.0.1:{port}"
    variables = {
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_BSP_MAX_QUEUE_SIZE": "8",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
    }
    end = time.monotonic() + 120

    def ask_until(holds: Callable[[], bool]) -> None:
        while not holds():
            assert time.monotonic() < end, file.read_text()
            ask(url, "hello")
            time.sleep(0.02)

    flags = ("--otlp_traces_endpoint", shown, "--log_path", str(file))
    with serving(tmp_path, *flags, **variables) as (process, url):
        ask_until(lambda: f"Traces cannot be sent to {shown}: " in file.read_text())
        with receiving_grpc(port) as receiver:
            ask_until(lambda: bool(receiver.spans))
            _, seconds = stop(process)
    log = file.read_text()
    assert f"Traces are sent to {shown} (grpc)" in log
    assert log.count("Traces cannot be sent") == 1
    assert f"Traces are sent to {shown} again; " in log
    assert "opentelemetry" not in log
    assert seconds < WELL_BELOW_OPENTELEMETRYS_S


class Broken:
    """An exporter with a fault, until it is mended."""

    def __init__(self) -> None:
        self.error: Exception | None = RuntimeError("no such field")

    def export(self, spans: object) -> SpanExportResult:
        if self.error is not None:
            raise self.error
        return SpanExportResult.SUCCESS


def test_an_exporter_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    broken = Broken()
    exporter = _Exporter(broken, TracingSettings("http://c", "http://c", "grpc", False))
    assert exporter.export(["span", "span"]) is SpanExportResult.FAILURE
    assert exporter.export(["span"]) is SpanExportResult.FAILURE
    broken.error = None
    assert exporter.export(["span"]) is SpanExportResult.SUCCESS
    assert caplog.messages == [
        "Traces cannot be sent to http://c: no such field. Requests go on without them",
        "Traces are sent to http://c again; 3 spans are lost",
    ]
