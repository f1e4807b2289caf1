"""The spans of requests, as a collector gets them: names, parents, times, attributes."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry import trace
from opentelemetry.propagate import inject
from opentelemetry.sdk.trace import TracerProvider
from support.grpc_serving import running_grpc
from support.otlp_receiver import SERVER, Receiver, Span
from support.serving import Server
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from server.api.kserve_grpc.settings import GrpcSettings
from server.api.tracing.export import TraceExport
from server.host.version import DISTRIBUTION
from server.models.model_manager import ModelManager

# The models are loaded once, for all tests of this folder.
pytestmark = pytest.mark.asyncio(loop_scope="package")

SECRET = "zebra"


def chat(model: str = "echo", text: str = f"{SECRET} b c", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


async def ask(
    server: Server, path: str, body: Any, request_id: str, **headers: str
) -> tuple[int, str]:
    headers["X-Request-Id"] = request_id
    async with server.http.post(path, json=body, headers=headers) as response:
        return response.status, await response.text()


async def spans_of(receiver: Receiver, request_id: str) -> tuple[Span, list[Span]]:
    root, others = await asyncio.to_thread(receiver.trace_of, request_id)
    for span in (root, *others):
        assert 0 < span.start_ns <= span.end_ns
        assert span.num_events == 0
    return root, others


async def test_a_chat(server: Server, receiver: Receiver) -> None:
    fields = {
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "max_tokens": 5,
        "n": 2,
        "stop": ["x"],
        "frequency_penalty": 0.25,
    }
    status, text = await ask(server, "/v3/chat/completions", chat(**fields), "chat")
    assert status == 200
    root, others = await spans_of(receiver, "chat")
    assert (root.name, root.kind, root.parent_id) == ("chat echo", SERVER, "")
    assert not root.is_error
    answer = json.loads(text)
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openvino",
        "gen_ai.request.model": "echo",
        "gen_ai.response.model": "echo",
        "gen_ai.response.id": answer["id"],
        "gen_ai.response.finish_reasons": ["stop", "stop"],
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.seed": 7,
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.stop_sequences": ["x"],
        "gen_ai.request.frequency_penalty": 0.25,
        "gen_ai.usage.input_tokens": answer["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": answer["usage"]["completion_tokens"],
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v3/chat/completions",
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }
    assert {name: root.attributes.get(name) for name in expected} == expected
    assert "gen_ai.request.top_k" not in root.attributes
    assert "error.type" not in root.attributes
    (node,) = others
    assert (node.parent_id, node.attributes["graph.calculator"]) == (root.span_id, "EchoCalculator")
    assert root.resource["service.name"] == DISTRIBUTION
    assert root.resource["deployment.environment.name"] == "test"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_llm(server: Server, receiver: Receiver, stream: bool) -> None:
    request_id = f"llm-{stream}"
    body = chat("tiny_chat", f"What is 27 + 15, {SECRET}?", stream=stream, max_tokens=20)
    status, _ = await ask(server, "/v1/chat/completions", body, request_id)
    assert status == 200
    root, others = await spans_of(receiver, request_id)
    nodes = receiver.children_of(root)
    calculators = {span.attributes["graph.calculator"] for span in nodes.values()}
    assert {"TokenizerCalculator", "LLMExecutorCalculator", "DetokenizerCalculator"} <= calculators
    (executor,) = (
        s for s in nodes.values() if s.attributes["graph.calculator"] == "LLMExecutorCalculator"
    )
    phases = receiver.children_of(executor)
    assert list(phases) == ["queue", "prefill", "decode"]
    assert len(others) == len(nodes) + len(phases)
    queue, prefill, decode = phases.values()
    assert executor.start_ns <= queue.start_ns
    assert queue.end_ns == prefill.start_ns
    assert prefill.end_ns == decode.start_ns
    assert decode.end_ns <= executor.end_ns <= root.end_ns
    found = root.attributes
    seconds = {name: (s.end_ns - s.start_ns) / 1e9 for name, s in phases.items()}
    assert found["gen_ai.latency.time_in_queue"] == pytest.approx(seconds["queue"])
    assert found["gen_ai.latency.time_in_model_prefill"] == pytest.approx(seconds["prefill"])
    assert found["gen_ai.latency.time_in_model_decode"] == pytest.approx(seconds["decode"])
    assert found["gen_ai.latency.time_in_model_inference"] == pytest.approx(
        seconds["prefill"] + seconds["decode"]
    )
    time_to_first = found["gen_ai.latency.time_to_first_token"]
    assert 0 < time_to_first <= found["gen_ai.latency.e2e"]
    assert seconds["queue"] + seconds["prefill"] <= time_to_first
    assert found.get("gen_ai.request.stream") == (True if stream else None)
    assert found.get("gen_ai.response.time_to_first_chunk") == (time_to_first if stream else None)
    assert found["gen_ai.usage.output_tokens"] > 0
    # Nothing that the client or the model wrote has left the server.
    assert not any(SECRET.encode() in body for body in receiver.bodies)


async def test_prompts_that_are_sent_together(server: Server, receiver: Receiver) -> None:
    body = {"model": "tiny_chat", "prompt": ["a", "b", "c"], "max_tokens": 2}
    await ask(server, "/v3/completions", body, "three")
    root, others = await spans_of(receiver, "three")
    assert root.name == "text_completion tiny_chat"
    assert len([s for s in others if s.name == "prefill"]) == 3
    assert len({s.parent_id for s in others if s.name == "prefill"}) == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves(server: Server, receiver: Receiver, stream: bool) -> None:
    request_id = f"gone-{stream}"
    body = chat(text="a !endless", stream=stream)
    call = asyncio.create_task(ask(server, "/v3/chat/completions", body, request_id))
    await server.until_running(1)
    call.cancel()
    root, (node,) = await spans_of(receiver, request_id)
    assert root.is_error
    assert root.attributes["error.type"] == "client_gone"
    assert root.attributes["http.response.status_code"] == 499
    assert "gen_ai.response.model" not in root.attributes
    assert node.attributes["graph.node.is_stopped"]
    assert not node.is_error


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (chat("nothing"), 404, "model_not_found"),
        (chat(temperature=9), 400, "invalid_request_error"),
        (chat(text="!bug"), 500, "server_error"),
    ],
)
async def test_errors(
    server: Server, receiver: Receiver, body: dict[str, Any], status: int, error: str
) -> None:
    assert (await ask(server, "/v3/chat/completions", body, f"error-{status}"))[0] == status
    root, others = await spans_of(receiver, f"error-{status}")
    assert root.is_error
    assert root.attributes["error.type"] == error
    assert root.attributes["http.response.status_code"] == status
    assert [s.attributes["error.type"] for s in others if s.is_error] == (
        ["KeyError"] if status == 500 else []
    )


async def test_a_body_that_is_no_json(server: Server, receiver: Receiver) -> None:
    headers = {"X-Request-Id": "no-json"}
    async with server.http.post("/v3/chat/completions", data=b"{", headers=headers) as response:
        assert response.status == 400
    root, _ = await spans_of(receiver, "no-json")
    assert (root.name, root.is_error) == ("chat", True)


async def test_a_stream_that_fails(server: Server, receiver: Receiver) -> None:
    body = chat(text="a !generation", stream=True)
    assert (await ask(server, "/v3/chat/completions", body, "broken"))[0] == 200
    root, _ = await spans_of(receiver, "broken")
    assert root.is_error
    assert root.attributes["error.type"] == "server_error"
    assert root.attributes["http.response.status_code"] == 200


async def test_the_context_of_a_client(server: Server, receiver: Receiver) -> None:
    headers: dict[str, str] = {}
    with TracerProvider().get_tracer("client").start_as_current_span("outer") as outer:
        inject(headers)
    headers["tracestate"] = "vendor=x"
    assert set(headers) == {"traceparent", "tracestate"}
    await ask(server, "/v3/chat/completions", chat(), "inner", **headers)
    root, _ = await spans_of(receiver, "inner")
    context = outer.get_span_context()
    assert root.trace_id == trace.format_trace_id(context.trace_id)
    assert root.parent_id == trace.format_span_id(context.span_id)


@pytest.mark.parametrize("given", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
async def test_a_context_that_is_none(server: Server, receiver: Receiver, given: str) -> None:
    request_id = f"none-{len(given)}"
    await ask(server, "/v3/chat/completions", chat(), request_id, traceparent=given)
    root, _ = await spans_of(receiver, request_id)
    assert root.parent_id == ""


async def test_what_the_client_does_not_sample(server: Server, receiver: Receiver) -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-00"
    await ask(server, "/v3/chat/completions", chat(), "unsampled", traceparent=parent)
    await ask(server, "/v3/chat/completions", chat(), "next")
    await spans_of(receiver, "next")
    assert not [s for s in receiver.spans if s.trace_id == "a" * 32]


@pytest.mark.parametrize(
    ("path", "body", "name", "num_tokens"),
    [
        ("/v3/embeddings", {"model": "tiny_embedder", "input": ["a", "b"]}, "embeddings", True),
        (
            "/v3/rerank",
            {"model": "tiny_reranker", "query": "a", "documents": ["b", "c"]},
            "rerank",
            True,
        ),
        ("/v2/models/add/infer", None, "infer", False),
        ("/v1/models/add:predict", {"inputs": {"x": [[1, 2, 3]], "y": [[1, 2, 3]]}}, "predict", 0),
        ("/v3/responses", {"model": "tiny_chat", "input": "a"}, "chat", True),
        ("/v3/messages", {**chat("tiny_chat"), "max_tokens": 2}, "chat", True),
    ],
)
async def test_other_operations(
    server: Server, receiver: Receiver, path: str, body: Any, name: str, num_tokens: bool
) -> None:
    if body is None:
        tensor = {"datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
        body = {"inputs": [{"name": "x", **tensor}, {"name": "y", **tensor}]}
    request_id = path.replace("/", "_")
    status, text = await ask(server, path, body, request_id)
    assert status == 200, text
    root, others = await spans_of(receiver, request_id)
    model = root.attributes["gen_ai.request.model"]
    assert root.name == f"{name} {model}"
    assert root.attributes["gen_ai.operation.name"] == name
    assert ("gen_ai.usage.input_tokens" in root.attributes) == bool(num_tokens)
    # What waits for its turn says how long.
    assert "queue" in {span.name for span in others}
    assert root.attributes["gen_ai.latency.time_in_model_inference"] > 0


async def test_what_a_graph_passes_on(server: Server, receiver: Receiver) -> None:
    parent = f"00-{'c' * 32}-{'d' * 16}-01"
    _, text = await ask(server, "/v3/calls", {}, "calls", traceparent=parent, tracestate="v=1")
    root, _ = await spans_of(receiver, "calls")
    assert (root.name, root.trace_id, root.parent_id) == ("raw calls", "c" * 32, "d" * 16)
    nodes = receiver.children_of(root)
    assert set(nodes) == {"Forward", "Call"}
    told = json.loads(text)
    # In the headers of the request the server stands in the client's place, and in the code of a
    # node the node does.
    assert told["headers"]["traceparent"] == f"00-{'c' * 32}-{root.span_id}-01"
    assert told["current"]["traceparent"] == f"00-{'c' * 32}-{nodes['Call'].span_id}-01"
    assert told["headers"]["tracestate"] == told["current"]["tracestate"] == "v=1"
    assert set(receiver.children_of(nodes["Call"])) == {"call"}


async def test_no_spans_for_probes(server: Server, receiver: Receiver) -> None:
    for path in ("/health", "/v3/models", "/metrics", "/v2/models/add/ready"):
        async with server.http.get(path, headers={"X-Request-Id": "probe"}) as response:
            assert response.status == 200
            assert response.headers["X-Request-Id"] == "probe"
    await ask(server, "/v3/chat/completions", chat(), "after")
    await spans_of(receiver, "after")
    assert not [s for s in receiver.spans if s.attributes.get("gen_ai.request.id") == "probe"]


async def test_grpc(manager: ModelManager, traces: TraceExport, receiver: Receiver) -> None:
    inputs = []
    for name in ("x", "y"):
        tensor = InferInput(name, [1, 3], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 3), np.float32))
        inputs.append(tensor)
    parent = f"00-{'e' * 32}-{'f' * 16}-01"
    async with (
        running_grpc(manager, GrpcSettings(tracer=traces.tracer)) as address,
        InferenceServerClient(address) as client,
    ):
        headers = {"traceparent": parent, "x-request-id": "grpc"}
        await client.infer("add", inputs, headers=headers)
        with pytest.raises(InferenceServerException, match="nothing"):
            await client.infer("nothing", inputs, headers={"x-request-id": "grpc-error"})
        await client.is_server_live(headers={"x-request-id": "grpc-live"})
    root, others = await spans_of(receiver, "grpc")
    assert (root.name, root.kind) == ("infer add", SERVER)
    assert (root.trace_id, root.parent_id) == ("e" * 32, "f" * 16)
    assert root.attributes["rpc.method"] == "ModelInfer"
    assert "queue" in {span.name for span in others}
    failed, _ = await spans_of(receiver, "grpc-error")
    assert (failed.is_error, failed.attributes["error.type"]) == (True, "not_found")
    assert not [s for s in receiver.spans if s.attributes.get("gen_ai.request.id") == "grpc-live"]
