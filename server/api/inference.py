"""What KServe over HTTP, KServe over gRPC and TensorFlow Serving's API have in common."""

from collections.abc import Iterable

from server.api.model_lookup import graph_between
from server.api.request_facts import RequestFacts
from server.api.runs import start_run
from server.errors import GenerationError
from server.graph import ServedGraph
from server.models.model_manager import ModelManager, ServedModel
from server.payloads import InferRequest, InferResponse
from server.protocol.kserve.answer_schemas import ModelMetadata, TensorMetadata
from server.tensors import ModelSignature, TensorInfo

__all__ = [
    "describe_model",
    "infer_once",
    "signature_of",
    "tensor_graph",
]

PLATFORM = "OpenVINO"


def tensor_graph(model: ServedModel) -> ServedGraph:
    """The model's graph, if it takes and gives tensors. Raises WrongGraphError."""
    return graph_between(model, InferRequest, InferResponse)


async def infer_once(
    graph: ServedGraph, request: InferRequest, facts: RequestFacts
) -> InferResponse:
    """Run the graph; returns its first answer."""
    async with start_run(graph, request, facts, request.parameters) as run:
        async for response in run:
            assert isinstance(response, InferResponse)
            return response
    raise GenerationError("the graph ended without an answer")


def signature_of(model: ServedModel) -> ModelSignature | None:
    """The inputs and outputs of the model; None for a graph where no node knows them."""
    return model.graph.find_side_packet(ModelSignature)


def describe_model(manager: ModelManager, model: ServedModel) -> ModelMetadata:
    """KServe's metadata. Of a graph whose nodes do not know its tensors, it has the streams."""
    signature = signature_of(model)
    graph = model.graph
    return ModelMetadata(
        name=model.name,
        versions=[v.version for v in manager.served_versions(model.name) if v.is_available],
        platform=PLATFORM if signature is None else signature.platform,
        inputs=_stream(graph.input_name) if signature is None else _tensors(signature.inputs),
        outputs=_stream(graph.output_name) if signature is None else _tensors(signature.outputs),
    )


def _stream(name: str) -> list[TensorMetadata]:
    """A stream as Model Server describes those of graphs."""
    return [TensorMetadata(name=name, datatype="INVALID", shape=[])]


def _tensors(tensors: Iterable[TensorInfo]) -> list[TensorMetadata]:
    return [
        TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=list(tensor.shape))
        for tensor in tensors
    ]
