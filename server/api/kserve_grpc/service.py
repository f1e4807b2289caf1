"""KServe's GRPCInferenceService."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from server.api.clients.api_keys import check_model
from server.api.inference import describe_model, infer_once, tensor_graph
from server.api.kserve_grpc.calls import Calls, describe_error
from server.api.kserve_grpc.infer_messages import (
    InferCall,
    parse_infer,
    render_infer,
    render_stream_error,
    render_stream_infer,
)
from server.api.kserve_grpc.messages import message_class
from server.api.kserve_grpc.settings import GrpcSettings
from server.api.off_event_loop import off_event_loop
from server.api.request_facts import RequestFacts
from server.api.runs import start_run
from server.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    ModelNotReadyError,
    WrongGraphError,
)
from server.graph import ServedGraph
from server.host.version import DISTRIBUTION, version
from server.models.model_manager import ModelManager, ServedModel
from server.payloads import InferResponse

__all__ = ["InferenceService"]

Answer = Callable[[Any, RequestFacts], Mapping[str, Any]]
FindGraph = Callable[[InferCall, RequestFacts], tuple[ServedModel, ServedGraph]]

LOOKUP_ERRORS = (ModelNotFoundError, ModelNotReadyError, WrongGraphError)


class InferenceService:
    """The methods of the service.

    They get and return messages as bytes, so that tensors can be views of them.
    """

    def __init__(self, manager: ModelManager, settings: GrpcSettings) -> None:
        self._manager = manager
        self._calls = Calls(settings)

    def handlers(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """What gRPC calls for each method."""
        return {
            "ServerLive": self._unary("ServerLive", self._server_live),
            "ServerReady": self._unary("ServerReady", self._server_ready),
            "ServerMetadata": self._unary("ServerMetadata", self._server_metadata),
            "ModelReady": self._unary("ModelReady", self._model_ready),
            "ModelMetadata": self._unary("ModelMetadata", self._model_metadata),
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._model_infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._model_stream_infer),
        }

    def _unary(self, method: str, answer: Answer) -> grpc.RpcMethodHandler:
        request_class = message_class(f"{method}Request")
        response_class = message_class(f"{method}Response")

        async def handle(data: bytes, context: Any) -> bytes:
            async def work(facts: RequestFacts) -> bytes:
                try:
                    request = request_class.FromString(data)
                except DecodeError as error:
                    problem = f"the message is no {method}Request: {error}"
                    raise InvalidRequestError(problem) from error
                message = bytes(response_class(**answer(request, facts)).SerializeToString())
                facts.num_bytes = len(message)
                return message

            return await self._calls.run(method, context, work)

        return grpc.unary_unary_rpc_method_handler(handle)

    def _server_live(self, _: Any, __: RequestFacts) -> Mapping[str, Any]:
        return {"live": True}

    def _server_ready(self, _: Any, __: RequestFacts) -> Mapping[str, Any]:
        return {"ready": self._manager.is_ready}

    def _server_metadata(self, _: Any, __: RequestFacts) -> Mapping[str, Any]:
        return {"name": DISTRIBUTION, "version": version()}

    def _model_ready(self, request: Any, facts: RequestFacts) -> Mapping[str, Any]:
        try:
            self._find(request.name, request.version, facts)
        except ModelNotReadyError:
            return {"ready": False}
        return {"ready": True}

    def _model_metadata(self, request: Any, facts: RequestFacts) -> Mapping[str, Any]:
        model = self._find(request.name, request.version, facts)
        return describe_model(self._manager, model).model_dump()

    async def _model_infer(self, data: bytes, context: Any) -> bytes:
        async def work(facts: RequestFacts) -> bytes:
            self._calls.count_for_key(facts.key)
            with self._calls.hold(len(data)):
                return await infer(facts)

        async def infer(facts: RequestFacts) -> bytes:
            async with self._calls.limit():
                call = await off_event_loop(lambda: parse_infer(data), len(data))
                model, graph = self._find_graph(call, facts)
                response = await infer_once(graph, call.request, facts)
                message = await off_event_loop(
                    lambda: render_infer(call, response, model.version), _num_bytes(response)
                )
                facts.num_bytes = len(message)
                return message

        return await self._calls.run("ModelInfer", context, work)

    async def _model_stream_infer(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """Answer one request after the other, each with all that its run yields.

        As in Model Server, the stream ends if the first request names a model that is missing, not
        ready or takes no tensors. Any other failure is an answer, and the stream goes on.
        """

        async def work(facts: RequestFacts) -> None:
            may_end = True
            async for data in requests:
                stream = _StreamedRequest(self._find_graph, context, facts)
                try:
                    self._calls.count_for_key(facts.key)
                    with self._calls.hold(len(data)):
                        async with self._calls.limit():
                            await stream.answer(data)
                except grpc.aio.BaseError:
                    raise
                except Exception as error:
                    if may_end and isinstance(error, LOOKUP_ERRORS):
                        raise
                    await stream.fail(error)
                may_end = False

        await self._calls.run("ModelStreamInfer", context, work)

    def _find(self, name: str, version: str, facts: RequestFacts) -> ServedModel:
        facts.logged.model = name
        model = self._manager.get(name, version or None)
        check_model(facts.key, name, model.name)
        return model

    def _find_graph(self, call: InferCall, facts: RequestFacts) -> tuple[ServedModel, ServedGraph]:
        model = self._find(call.model_name, call.model_version, facts)
        return model, tensor_graph(model)


class _StreamedRequest:
    """One request of a stream."""

    def __init__(self, find_graph: FindGraph, context: Any, facts: RequestFacts) -> None:
        self._find_graph = find_graph
        self._context = context
        self._facts = facts
        self._id = ""

    async def answer(self, data: bytes) -> None:
        """Run the graph and send every answer."""
        call = await off_event_loop(lambda: parse_infer(data), len(data))
        self._id = call.id
        model, graph = self._find_graph(call, self._facts)
        timestamp = time.time_ns() // 1000 if call.timestamp is None else call.timestamp
        request = replace(call.request, is_streamed=True)
        self._facts.method = "ModelInferStream"
        async with start_run(graph, request, self._facts, request.parameters) as run:
            async for response in run:
                time_of_set = timestamp + response.step
                render = partial(render_stream_infer, call, response, model.version, time_of_set)
                message = await off_event_loop(render, _num_bytes(response))
                self._facts.num_bytes += len(message)
                await self._context.write(message)

    async def fail(self, error: Exception) -> None:
        """Send an error."""
        _, message = describe_error(error)
        await self._context.write(render_stream_error(message, self._id))


def _num_bytes(response: InferResponse) -> int:
    return sum(len(tensor.data) for tensor in response.outputs)
