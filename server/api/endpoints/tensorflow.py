"""TensorFlow Serving's REST API, which OVMS had as well."""

from aiohttp import web

from server.api.body import read_plain_body
from server.api.endpoint import Endpoint, error_answers, json_answer, json_body
from server.api.endpoints.models import versions_of
from server.api.inference import infer_once, signature_of, tensor_graph
from server.api.keys import MODEL_MANAGER
from server.api.large_answer import response_of
from server.api.model_lookup import find_model
from server.api.off_event_loop import off_event_loop
from server.api.request_facts import REQUEST_FACTS
from server.errors import InvalidRequestError, ModelNotFoundError
from server.models.model_manager import ServedModel
from server.protocol.kserve.answer_schemas import KServeError
from server.protocol.model_status import ModelStatus
from server.protocol.tensorflow.model_answers import Metadata, PredictAnswer, describe_metadata
from server.protocol.tensorflow.predict import PredictFields, parse_predict, read_predict
from server.protocol.tensorflow.predict_rendering import render_predict
from server.tensors import ModelSignature

__all__ = ["ENDPOINTS"]


async def _predict(request: web.Request) -> web.Response:
    body = await read_plain_body(request)
    fields = await off_event_loop(lambda: read_predict(body), len(body))
    signature = _signature(_model_of_path(request))
    call = await off_event_loop(lambda: parse_predict(fields, signature), len(body))
    # Only now: the model may be replaced while a large body is parsed.
    graph = tensor_graph(_model_of_path(request))
    facts = request[REQUEST_FACTS]
    facts.api, facts.method = "TensorFlowServing", "Predict"
    response = await infer_once(graph, call.request, facts)
    num_bytes = sum(len(tensor.data) for tensor in response.outputs)
    answer = await off_event_loop(lambda: render_predict(call, response), num_bytes)
    return response_of(answer, "application/json")


async def _get_metadata(request: web.Request) -> web.Response:
    model = _model_of_path(request)
    metadata = describe_metadata(model.name, model.version, _signature(model))
    return web.json_response(text=metadata.model_dump_json())


async def _get_version(request: web.Request) -> web.Response:
    """The state of one version, whether it can serve or not."""
    name, version = request.match_info["name"], request.match_info["version"]
    statuses = versions_of(request.app[MODEL_MANAGER], name)
    found = [status for status in statuses if status["version"] == version]
    if not found:
        _model_of_path(request)
    return web.json_response({"model_version_status": found})


def _model_of_path(request: web.Request) -> ServedModel:
    path = request.match_info
    name, has_label, label = path["name"].partition("/labels/")
    if has_label and name in request.app[MODEL_MANAGER].served_names():
        problem = f"there is no label {label[:100]!r}; name a version: /versions/1"
        raise ModelNotFoundError(problem)
    return find_model(request, path["name"], path.get("version"))


def _signature(model: ServedModel) -> ModelSignature:
    tensor_graph(model)
    signature = signature_of(model)
    if signature is None or any(info.datatype == "INVALID" for info in signature.inputs):
        raise InvalidRequestError(
            f"the graph of model {model.name!r} does not know the types of its inputs, which "
            f"JSON does not say; POST /v2/models/{model.name}/infer takes tensors with types"
        )
    return signature


VERSIONS = ("/versions/{version:[^/:]+}", "")
PREDICT_ERRORS = error_answers(400, 404, 413, 500, 503, 504, schema=KServeError)
ERRORS = error_answers(400, 404, 503, schema=KServeError)
ENDPOINTS = (
    *(
        Endpoint(
            "POST",
            f"/v1/models/{{name:.+?}}{version}:predict",
            _predict,
            "Run a model on tensors, in TensorFlow Serving's form",
            json_answer("The outputs", PredictAnswer) | PREDICT_ERRORS,
            body=json_body(PredictFields),
        )
        for version in VERSIONS
    ),
    *(
        Endpoint(
            "GET",
            f"/v1/models/{{name:.+?}}{version}/metadata",
            _get_metadata,
            "Describe a model in TensorFlow Serving's form",
            json_answer("The signature of the model", Metadata) | ERRORS,
        )
        for version in VERSIONS
    ),
    Endpoint(
        "GET",
        "/v1/models/{name:.+?}/versions/{version:[^/:]+}",
        _get_version,
        "The state of a version of a model, in TensorFlow Serving's form",
        json_answer("The state", ModelStatus) | error_answers(404, schema=KServeError),
    ),
)
