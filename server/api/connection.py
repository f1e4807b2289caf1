"""One client's connection: aiohttp's handler, with our form of an error for broken HTTP."""

from typing import Any

from aiohttp import web

from server.api.errors import ApiError
from server.protocol.json_text import json_bytes

__all__ = ["Connection"]

MAX_REASON = 200


class Connection(web.RequestHandler):
    """Answers what is no HTTP request with OpenAI's error object: a header that is too long, say.

    Such a request never reaches a middleware.
    """

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        super().handle_error(request, status, exc, message)
        response = _BareResponse(
            body=json_bytes({"error": _describe(status, message)}),
            status=status,
            content_type="application/json",
        )
        response.force_close()
        return response


class _BareResponse(web.Response):
    """An answer without aiohttp's Server header; the application's signals do not see it."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


def _describe(status: int, message: str | None) -> dict[str, Any]:
    if status >= 500:
        problem = "internal error; the server's log has the details"
        return ApiError(status, problem, "server_error").as_dict()
    reason = " ".join((message or "").split())[:MAX_REASON]
    return ApiError(status, f"broken HTTP: {reason}", code="broken_http").as_dict()
