"""Two nodes of a graph that is a service of its own, and that calls other services."""

import asyncio
import json

from server.graph import Calculator, Contract, ProcessContext, Tag
from server.payloads import HttpRequestPayload, HttpResponsePayload

RAW_REQUEST = Tag("HTTP_REQUEST_PAYLOAD", HttpRequestPayload)
RAW_RESPONSE = Tag("HTTP_RESPONSE_PAYLOAD", HttpResponsePayload)
FORWARDED = Tag("FORWARDED", HttpRequestPayload)


class ForwardCalculator(Calculator):
    """Hands the request on."""

    contract = Contract(inputs=(RAW_REQUEST,), outputs=(FORWARDED,))

    async def process(self, cc: ProcessContext) -> None:
        await cc.send(FORWARDED, await cc.receive(RAW_REQUEST))


class CallCalculator(Calculator):
    """Tells the headers of the request, and those that a library would send from here."""

    contract = Contract(inputs=(FORWARDED,), outputs=(RAW_RESPONSE,))

    async def process(self, cc: ProcessContext) -> None:
        from opentelemetry import propagate

        request = await cc.receive(FORWARDED)
        cc.begin_phase("call")
        current: dict[str, str] = {}
        await asyncio.to_thread(propagate.inject, current)
        told = {"headers": dict(request.headers), "current": current}
        await cc.send(RAW_RESPONSE, HttpResponsePayload(json.dumps(told).encode()))


GRAPH = """
input_stream: "HTTP_REQUEST_PAYLOAD:request"
output_stream: "HTTP_RESPONSE_PAYLOAD:response"
node {
  name: "Forward" calculator: "./traced_nodes.py:ForwardCalculator"
  input_stream: "HTTP_REQUEST_PAYLOAD:request" output_stream: "FORWARDED:forwarded"
}
node {
  name: "Call" calculator: "./traced_nodes.py:CallCalculator"
  input_stream: "FORWARDED:forwarded" output_stream: "HTTP_RESPONSE_PAYLOAD:response"
}
"""
