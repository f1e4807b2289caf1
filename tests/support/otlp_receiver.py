"""A collector of traces: OTLP over HTTP or gRPC, decoded."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

ERROR = 2
SERVER = 2
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass(frozen=True)
class Span:
    """A span as it came over the wire; ids are hexadecimal."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    status: int
    num_events: int
    resource: dict[str, Any]

    @property
    def is_error(self) -> bool:
        """Whether the span is marked as an error."""
        return self.status == ERROR


@dataclass
class Receiver:
    """What has come so far; `bodies` are the messages themselves, `headers` theirs."""

    url: str
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    def wait_for(self, wanted: Callable[[Sequence[Span]], bool], timeout_s: float = 20) -> None:
        """Wait until the spans are as wanted."""
        end = time.monotonic() + timeout_s
        while not wanted(self.spans):
            assert time.monotonic() < end, [span.name for span in self.spans]
            time.sleep(0.01)

    def trace_of(self, request_id: str) -> tuple[Span, list[Span]]:
        """The span of a request, and all others of its trace, once they have come."""

        def of_request(spans: Sequence[Span]) -> list[Span]:
            return [s for s in spans if s.attributes.get("gen_ai.request.id") == request_id]

        self.wait_for(lambda spans: len(of_request(spans)) == 1)
        (root,) = of_request(self.spans)
        return root, [s for s in self.spans if s.trace_id == root.trace_id and s is not root]

    def children_of(self, span: Span) -> dict[str, Span]:
        """The spans right below one, by name."""
        return {s.name: s for s in self.spans if s.parent_id == span.span_id}

    def add(self, path: str, body: bytes) -> None:
        self.paths.append(path)
        self.bodies.append(body)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [_span(found, resource) for found in scope.spans]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A collector on a free port, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/x-protobuf"
            receiver.headers.append({name.lower(): text for name, text in self.headers.items()})
            receiver.add(self.path, body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def receiving_grpc(port: int = 0) -> Iterator[Receiver]:
    """The same over gRPC."""

    def export(body: bytes, context: grpc.ServicerContext) -> bytes:
        receiver.headers.append(dict(context.invocation_metadata()))
        receiver.add(EXPORT, body)
        return ExportTraceServiceResponse().SerializeToString()

    class Service(grpc.GenericRpcHandler):
        def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            return grpc.unary_unary_rpc_method_handler(export) if call.method == EXPORT else None

    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads, handlers=(Service(),))
        receiver = Receiver(f"grpc://127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}")
        server.start()
        try:
            yield receiver
        finally:
            server.stop(None).wait()


def _span(found: Any, resource: dict[str, Any]) -> Span:
    return Span(
        found.name,
        found.kind,
        found.trace_id.hex(),
        found.span_id.hex(),
        found.parent_span_id.hex(),
        found.start_time_unix_nano,
        found.end_time_unix_nano,
        _values(found.attributes),
        found.status.code,
        len(found.events),
        resource,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    found = getattr(value, kind)
    return [_value(each) for each in found.values] if kind == "array_value" else found
