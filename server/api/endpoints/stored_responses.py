"""The endpoints of stored responses. None are stored, so they answer 404."""

from aiohttp import web

from server.api.endpoint import Endpoint, error_answers
from server.api.errors import ApiError, error_response

__all__ = ["ENDPOINTS"]


async def _find_none(request: web.Request) -> web.Response:
    found = f"there is no response {request.match_info['id'][:100]!r}"
    problem = f"{found}: this server stores none, whatever `store` says"
    error = ApiError(404, problem, param="id", code="response_not_found")
    return error_response(request, error)


ENDPOINTS = tuple(
    Endpoint(method, path, _find_none, summary, error_answers(404), is_prefixed=True)
    for method, path, summary in (
        ("GET", "/responses/{id}", "A stored response; there are none"),
        ("DELETE", "/responses/{id}", "Delete a stored response; there are none"),
        ("POST", "/responses/{id}/cancel", "Cancel a response in the background; there are none"),
        ("GET", "/responses/{id}/input_items", "The input of a stored response; there are none"),
    )
)
