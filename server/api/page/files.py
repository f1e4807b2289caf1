"""Serves the files of the page, with headers that let browsers run nothing else."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

__all__ = ["add_page"]

FOLDER = Path(__file__).parent / "web"
START = "index.html"
TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    "": "text/plain",
}
# https://www.w3.org/TR/CSP3/: whatever a model or a client says, it never becomes code.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Asked for again each time, and answered with 304 while it is the same: a new version of the
    # server never runs with half of the old page.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the page, and the tag by which browsers know whether they have it."""

    content: bytes
    content_type: str
    tag: str


def add_page(router: web.UrlDispatcher) -> None:
    """Add the routes of the page: `/`, and `/web/` with all that it loads."""
    for path, file in _files().items():
        router.add_get("/" if path == START else f"/web/{path}", _handler(file))


@cache
def _files() -> Mapping[str, _File]:
    """The files by their paths in the folder; about 200 kB together."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.suffix in TYPES:
            content = path.read_bytes()
            tag = hashlib.sha256(content).hexdigest()[:32]
            name = path.relative_to(FOLDER).as_posix()
            found[name] = _File(content, TYPES[path.suffix], tag)
    return found


def _handler(file: _File) -> Handler:
    async def send(request: web.Request) -> web.Response:
        tags = request.if_none_match or ()
        is_known = any(tag.value in {file.tag, "*"} for tag in tags)
        response = web.Response(
            status=304 if is_known else 200,
            body=None if is_known else file.content,
            headers=HEADERS,
        )
        if not is_known:
            response.content_type, response.charset = file.content_type, "utf-8"
        response.etag = file.tag
        return response

    return send
