"""GET /v2/models/{model}: KServe's questions about a model."""

from aiohttp import web

from server.api.endpoint import Answer, Endpoint, error_answers, json_answer
from server.api.inference import describe_model
from server.api.keys import MODEL_MANAGER
from server.api.model_lookup import find_model
from server.models.model_manager import ServedModel
from server.protocol.kserve.answer_schemas import KServeError, ModelMetadata

__all__ = ["ENDPOINTS", "model_of_path"]


def model_of_path(request: web.Request) -> ServedModel:
    """The model and version that the path names. Raises ModelNotFoundError, ModelNotReadyError."""
    path = request.match_info
    return find_model(request, path["name"], path.get("version"))


async def _get_metadata(request: web.Request) -> web.Response:
    metadata = describe_model(request.app[MODEL_MANAGER], model_of_path(request))
    return web.json_response(text=metadata.model_dump_json())


async def _get_ready(request: web.Request) -> web.Response:
    model_of_path(request)
    return web.Response()


ERRORS = error_answers(404, 503, schema=KServeError)
IS_READY = {"200": Answer("The model can serve"), **ERRORS}
METADATA = json_answer("KServe's model metadata", ModelMetadata) | ERRORS
# A name may hold slashes, so the longest paths come first; `infer` has another method.
PATHS = ("/v2/models/{name:.+?}/versions/{version}", "/v2/models/{name:.+?}")
METADATA_PATHS = tuple(path.replace(".+?", "(?!.+/infer$).+?") for path in PATHS)
ENDPOINTS = (
    *(
        Endpoint("GET", f"{path}/ready", _get_ready, "Whether a model can serve", IS_READY)
        for path in PATHS
    ),
    *(
        Endpoint("GET", path, _get_metadata, "Describe a model", METADATA)
        for path in METADATA_PATHS
    ),
)
