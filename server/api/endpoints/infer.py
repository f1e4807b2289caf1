"""POST /v2/models/{model}/infer: tensors in, tensors out, as KServe has it."""

from aiohttp import web

from server.api.body import read_plain_body
from server.api.endpoint import Answer, Endpoint, Schema, error_answers
from server.api.endpoints.model_metadata import model_of_path
from server.api.inference import infer_once, tensor_graph
from server.api.large_answer import response_of
from server.api.off_event_loop import off_event_loop
from server.api.request_facts import REQUEST_FACTS
from server.api.unknown_fields import UNKNOWN_FIELD_POLICY
from server.errors import WrongGraphError
from server.protocol.kserve.answer_schemas import InferAnswer, KServeError
from server.protocol.kserve.infer import InferFields, parse_infer
from server.protocol.kserve.infer_rendering import render_infer

__all__ = ["ENDPOINTS"]

HEADER_LENGTH = "Inference-Header-Content-Length"


async def _infer(request: web.Request) -> web.Response:
    body = await read_plain_body(request)
    header_length = request.headers.get(HEADER_LENGTH)
    call = await off_event_loop(lambda: parse_infer(body, header_length), len(body))
    request.app[UNKNOWN_FIELD_POLICY].apply(request, call.unknown_fields)
    # Only now: the model may be replaced while a large body is parsed.
    model = model_of_path(request)
    try:
        graph = tensor_graph(model)
    except WrongGraphError as error:
        # Model Server's status.
        raise web.HTTPPreconditionFailed(reason=str(error)) from error
    response = await infer_once(graph, call.request, request[REQUEST_FACTS])
    num_bytes = sum(len(tensor.data) for tensor in response.outputs)
    answer, json_length = await off_event_loop(
        lambda: render_infer(call, response, model.name, model.version), num_bytes
    )
    if json_length is None:
        return response_of(answer, "application/json")
    headers = {HEADER_LENGTH: str(json_length)}
    return response_of(answer, "application/octet-stream", headers)


BODY: dict[str, Schema] = {
    "application/json": InferFields,
    "application/octet-stream": {"type": "string"},
}
ANSWERS = {
    "200": Answer(
        "The outputs: as JSON, or JSON with binary data after it",
        {"application/json": InferAnswer, "application/octet-stream": {"type": "string"}},
    ),
    "412": Answer("The model's graph is not for tensors", {"application/json": KServeError}),
    **error_answers(400, 404, 413, 500, 503, 504, schema=KServeError),
}
ENDPOINTS = tuple(
    Endpoint("POST", path, _infer, "Run a model on tensors", ANSWERS, body=BODY)
    for path in ("/v2/models/{name:.+?}/versions/{version}/infer", "/v2/models/{name:.+?}/infer")
)
