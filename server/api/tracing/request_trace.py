"""The span of a request, and those of its nodes and their phases."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from server.api.request_facts import RequestFacts
from server.api.tracing.attributes import Attributes, attributes_of_answer, attributes_of_request
from server.api.tracing.content import Answers, input_messages
from server.graph import RUN_OBSERVER, NodePhases, failure_of
from server.payloads import ClientRequest, GenerationRequest

__all__ = ["RequestTrace", "RequestTracer"]

MAX_NAME_CHARACTERS = 200
# What the phases of a node are called in the attributes of the request.
LATENCIES = {
    "queue": "gen_ai.latency.time_in_queue",
    "prefill": "gen_ai.latency.time_in_model_prefill",
    "decode": "gen_ai.latency.time_in_model_decode",
    "inference": "gen_ai.latency.time_in_model_inference",
}
INFERENCE = "gen_ai.latency.time_in_model_inference"

GetAll = Callable[[str], Sequence[str]]


class _Headers:
    """How OpenTelemetry reads headers: a function that gives all values of a name."""

    def get(self, carrier: GetAll, key: str) -> list[str] | None:
        return list(carrier(key)) or None

    def keys(self, _: GetAll) -> list[str]:
        return []


class RequestTracer:
    """Makes the spans of requests with a tracer of OpenTelemetry."""

    def __init__(self, tracer: Any, *, captures_content: bool) -> None:
        self._tracer = tracer
        self._captures_content = captures_content

    @contextmanager
    def request(
        self, operation: str, headers: GetAll, facts: RequestFacts, attributes: Attributes
    ) -> Iterator["RequestTrace"]:
        """A context for the work on a request; its span ends with it.

        The parent of the span is in `headers`. How the request ended is in `facts`.
        """
        parent = propagate.extract(headers, getter=_Headers())
        span = self._tracer.start_span(
            operation, parent, kind=SpanKind.SERVER, attributes=attributes
        )
        ids = span.get_span_context()
        facts.logged.trace_id = trace.format_trace_id(ids.trace_id)
        facts.logged.span_id = trace.format_span_id(ids.span_id)
        found = RequestTrace(self._tracer, span, operation, facts)
        token = otel_context.attach(trace.set_span_in_context(span, parent))
        observer = None
        if span.is_recording():
            facts.trace = found
            if self._captures_content:
                found.answers = Answers()
                facts.on_chunk = found.answers.add
            observer = RUN_OBSERVER.set(found)
        try:
            yield found
        finally:
            if observer is not None:
                RUN_OBSERVER.reset(observer)
                found.end()
            otel_context.detach(token)
            span.end()


class RequestTrace:
    """A request's span while the request is worked on. It observes the nodes of its runs.

    `status` is that of HTTP; `is_stream` says whether the answer comes in events.
    """

    def __init__(self, tracer: Any, span: Any, operation: str, facts: RequestFacts) -> None:
        self._tracer = tracer
        self._span = span
        self._operation = operation
        self._facts = facts
        self._latencies: dict[str, float] = {}
        self.answers: Answers | None = None
        self.status: int | None = None
        self.is_stream = False

    def note_packets(self, packets: Sequence[ClientRequest]) -> None:
        """Note what graphs are asked for this request."""
        self._span.set_attributes(attributes_of_request(packets[0]))
        if self.answers is not None:
            requests = [p for p in packets if isinstance(p, GenerationRequest)]
            self._span.set_attribute("gen_ai.input.messages", input_messages(requests))

    def inject(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers of the client with this span as the parent of what comes next."""
        found = dict(headers)
        propagate.inject(found)
        return found

    @contextmanager
    def node(self, graph: str, node: str, calculator: str, phases: NodePhases) -> Iterator[None]:
        """The span of a node, which is the current one for the code of the node."""
        attributes = {"graph.name": graph, "graph.node": node, "graph.calculator": calculator}
        # The texts of exceptions may have parts of prompts.
        with self._tracer.start_as_current_span(
            node, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                _mark_failure(span, error)
                raise
            finally:
                self._add_phases(phases)

    def _add_phases(self, phases: NodePhases) -> None:
        """Add the spans of a node's phases; the last one ends now."""
        starts = [start for _, start in phases.marks]
        for (name, start), end in zip(phases.marks, [*starts[1:], time.time_ns()], strict=False):
            self._tracer.start_span(name, start_time=start).end(max(start, end))
            latency = LATENCIES.get(name)
            if latency is not None:
                # Of several prompts, the one that took longest.
                seconds = max(0, end - start) / 1e9
                self._latencies[latency] = max(seconds, self._latencies.get(latency, 0.0))

    def end(self) -> None:
        """Note how the request ended."""
        facts, span = self._facts, self._span
        if facts.model is not None:
            span.update_name(f"{self._operation} {facts.model[:MAX_NAME_CHARACTERS]}")
            span.set_attribute("gen_ai.request.model", facts.model[:MAX_NAME_CHARACTERS])
        span.set_attributes(attributes_of_answer(facts, is_stream=self.is_stream))
        model_times = [self._latencies.get(LATENCIES[name]) for name in ("prefill", "decode")]
        if any(model_times):
            self._latencies[INFERENCE] = sum(seconds or 0.0 for seconds in model_times)
        span.set_attributes(self._latencies)
        if self.status is not None:
            span.set_attribute("http.response.status_code", self.status)
        if self.answers is not None:
            span.set_attribute("gen_ai.output.messages", self.answers.output_messages())
        error = facts.error
        if error is None and self.status is not None and self.status >= 400:
            error = str(self.status)
        if error is None:
            if facts.model is not None:
                span.set_attribute("gen_ai.response.model", facts.model[:MAX_NAME_CHARACTERS])
        else:
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR, error))


def _mark_failure(span: Any, error: BaseException) -> None:
    """Mark the span of a node that failed, or that was stopped before its end."""
    failure = failure_of(error)
    if isinstance(failure, asyncio.CancelledError | GeneratorExit):
        span.set_attribute("graph.node.is_stopped", True)
    elif failure is not None:
        name = type(failure).__name__
        span.set_attribute("error.type", name)
        span.set_status(Status(StatusCode.ERROR, name))
