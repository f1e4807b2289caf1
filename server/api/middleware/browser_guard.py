"""Refuses what pages of other sites can make a browser send without asking the server first.

A page may send a POST to any server, as long as its Content-Type is one of a form's
(https://fetch.spec.whatwg.org/#cors-safelisted-method). The page cannot read the answer, but the
server would do the work.
"""

from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server.api.clients.address import is_loopback
from server.api.errors import ApiError, error_response
from server.api.middleware.origins import AllowedOrigins

__all__ = ["host_middleware", "page_middleware"]

# "": a body without Content-Type, or no body.
FORM_TYPES = frozenset(
    {"", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"}
)
ANY = "*"
# How containers call the machine that they run on. Nobody can register names under .internal.
CONTAINER_HOSTS = frozenset({"host.docker.internal", "host.containers.internal"})


def page_middleware(origins: AllowedOrigins) -> Middleware:
    """Make the middleware that refuses forms of other sites' pages."""

    @web.middleware
    async def check_page(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method != "POST" or not _is_foreign(request, origins):
            return await handler(request)
        content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if content_type not in FORM_TYPES:
            return await handler(request)
        origin = request.headers.get("Origin", "another site")[:200]
        problem = (
            f"a web page of {origin!r} sent this request, and pages of other sites are not "
            "allowed; --allowed_origins names those that are"
        )
        return error_response(request, ApiError(403, problem, code="origin_not_allowed"))

    return check_page


def _is_foreign(request: web.Request, origins: AllowedOrigins) -> bool:
    # Set by browsers alone: pages cannot.
    site = request.headers.get("Sec-Fetch-Site", "").lower()
    if origins.has_all or site == "same-origin":
        return False
    origin = request.headers.get("Origin")
    if origin is None:
        return site == "cross-site"
    return not (origins.allow(origin) or _is_own(origin, request.headers.get("Host", "")))


def _is_own(origin: str, host: str) -> bool:
    """Whether the page came from the address that it asks: that of a proxy with pages, say."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:
        return False


def host_middleware(allowed_hosts: tuple[str, ...]) -> Middleware:
    """Make the middleware that refuses requests for other hosts than this machine or those named.

    A page of a site whose name is made to lead to 127.0.0.1 (DNS rebinding) has the same origin as
    the server, and could read its answers. Its browser still sends the name.
    """
    names = {_host_of(name) for name in allowed_hosts} | CONTAINER_HOSTS

    @web.middleware
    async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = _host_of(request.headers.get("Host", ""))
        if not host or host in names or is_loopback(host):
            return await handler(request)
        problem = (
            f"the request is for host {host[:200]!r}, which is not a name of this server; "
            "--allowed_hosts adds names"
        )
        return error_response(request, ApiError(403, problem, code="host_not_allowed"))

    return check_host


def _host_of(header: str) -> str:
    """The host in a Host header or a flag, without the port and the brackets of IPv6."""
    host = header.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    # An IPv6 address of a flag has no brackets.
    return host if host.count(":") > 1 else host.partition(":")[0].rstrip(".")
