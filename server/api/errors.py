"""Exceptions -> the error of OpenAI's API, KServe's, TensorFlow Serving's or Anthropic's.

The HTTP status of every error is chosen here.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from server.api.missing_endpoints import describe_missing
from server.api.paths import is_anthropic, is_tensorflow, routed_path
from server.api.request_facts import REQUEST_FACTS
from server.errors import (
    ClientLimitError,
    ConfigError,
    ConfigNotFoundError,
    ContextLengthError,
    GraphParseError,
    GraphValidationError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotFoundError,
    ModelNotReadyError,
    NodeHungError,
    NotAllowedError,
    OverloadedError,
    ReloadError,
    RequestError,
)
from server.host.metrics import counter
from server.protocol.anthropic.message_object import error_message
from server.protocol.json_text import json_bytes

__all__ = ["ApiError", "ClientGoneError", "api_error", "error_middleware", "error_response"]

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 5

Refusal = NotAllowedError | OverloadedError | ModelNotReadyError | NodeHungError

REJECTIONS = counter(
    "vllm:admission_rejections", "Requests that were refused because there was too much", "reason"
)
# vLLM's names of reasons, where they are not those of our limits.
VLLM_REASONS = {"max_num_queued_requests": "max_num_queued_reqs"}


class ClientGoneError(Exception):
    """The client left; there is nobody to answer."""


@dataclass(frozen=True)
class ApiError:
    """What the client is told."""

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def note(self, request: web.Request) -> None:
        """Tell the access log."""
        request[REQUEST_FACTS].error = self.code or self.type

    def as_dict(self) -> dict[str, Any]:
        """OpenAI's error object."""
        return {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }


def api_error(error: Exception) -> ApiError:
    """What to tell the client. An error of the server is logged with its traceback."""
    if isinstance(error, Refusal):
        return _refusal(error)
    if isinstance(error, ModelNotFoundError):
        return ApiError(404, str(error), param="model", code="model_not_found")
    if isinstance(error, InvalidRequestError):
        code = "context_length_exceeded" if isinstance(error, ContextLengthError) else None
        return ApiError(400, str(error), param=error.param, code=code)
    if isinstance(error, ConfigError | ReloadError):
        return _reload_error(error)
    if isinstance(error, RequestError):
        logger.error("A request failed", exc_info=error)
        return ApiError(500, str(error), "server_error")
    logger.error("A request failed unexpectedly", exc_info=error)
    return ApiError(500, "internal error; the server's log has the details", "server_error")


def _refusal(error: Refusal) -> ApiError:
    """A request that the server could serve, but not for this client, or not now."""
    message = str(error)
    if isinstance(error, NotAllowedError):
        return ApiError(403, message, code="insufficient_permissions")
    if isinstance(error, NodeHungError):
        return ApiError(504, message, "server_error", code="node_hung")
    if isinstance(error, ModelNotReadyError):
        headers = {"Retry-After": str(math.ceil(error.retry_after_s or RETRY_AFTER_S))}
        return ApiError(503, message, "service_unavailable", headers=headers)
    REJECTIONS.labels(VLLM_REASONS.get(error.reason, error.reason)).inc()
    headers = {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, ClientLimitError):
        code = "rate_limit_exceeded"
        return ApiError(429, message, "rate_limit_error", code=code, headers=headers)
    return ApiError(503, message, "service_unavailable", code="queue_full", headers=headers)


def _reload_error(error: ConfigError | ReloadError) -> ApiError:
    """OVMS's statuses: 412 for an invalid file, 400 for missing files of a model, else 500.

    500 also means that the configuration file cannot be opened.
    """
    causes = list(error.errors.values()) if isinstance(error, ReloadError) else [error]
    status = max(map(_reload_status, causes))
    error_type = "server_error" if status == 500 else "invalid_request_error"
    return ApiError(status, f"reloading failed: {error}", error_type, code="reload_failed")


def _reload_status(error: Exception) -> int:
    if isinstance(error, ConfigNotFoundError):
        return 500
    if isinstance(error, ConfigError | GraphParseError | GraphValidationError):
        return 412
    return 400 if isinstance(error, ModelLoadError) else 500


def _http_error(request: web.Request, error: web.HTTPException) -> ApiError:
    """Errors that aiohttp raises: no route, wrong method, body too large."""
    missing = describe_missing(routed_path(request))
    if missing is not None:
        return ApiError(404, missing, code="not_here_yet")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allow = ",".join(sorted(error.allowed_methods))
        message = f"{request.method} {request.path} is not possible; allowed: {allow}"
        return ApiError(405, message, code="method_not_allowed", headers={"Allow": allow})
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        limit = request.client_max_size
        return ApiError(413, f"the body is larger than {limit} bytes", code="request_too_large")
    if isinstance(error, web.HTTPRequestTimeout):
        return ApiError(408, error.text or error.reason, code="request_timeout")
    if error.status == 404:
        return ApiError(404, f"there is nothing at {request.path}", code="not_found")
    return ApiError(error.status, error.reason)


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception of a handler into an answer."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        if request.method == "OPTIONS":
            return web.Response(headers={"Allow": ",".join(sorted(error.allowed_methods))})
        return error_response(request, _http_error(request, error))
    except web.HTTPException as error:
        return error_response(request, _http_error(request, error))
    except ClientGoneError:
        request[REQUEST_FACTS].error = "client_gone"
        return web.Response(status=499, reason="Client Closed Request")
    except Exception as error:
        return error_response(request, api_error(error))


def error_response(request: web.Request, error: ApiError) -> web.Response:
    """The error in the form of the path's protocol."""
    error.note(request)
    return web.Response(
        body=json_bytes(_error_body(request, error)),
        status=error.status,
        content_type="application/json",
        headers=error.headers,
    )


def _error_body(request: web.Request, error: ApiError) -> Mapping[str, Any]:
    if f"{routed_path(request)}/".startswith("/v2/") or is_tensorflow(request.path):
        return {"error": error.message}
    if is_anthropic(request.path):
        body = error_message(error.status, error.message)
        return {**body, "request_id": request[REQUEST_FACTS].request_id}
    return {"error": error.as_dict()}
