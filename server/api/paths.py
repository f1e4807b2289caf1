"""Paths as clients write them: a base URL that ends with a slash gives double slashes."""

import re
from functools import wraps

from aiohttp import web

__all__ = [
    "clean_path",
    "ignore_extra_slashes",
    "is_anthropic",
    "is_page",
    "is_tensorflow",
    "routed_path",
]

# The answers to GET /v1/models/{name} have OpenAI's form.
TENSORFLOW_PATH = re.compile(
    "/v1/models/.+(:(predict|classify|regress)|/metadata|/(versions|labels)/[^/]+)$", re.DOTALL
)
ANTHROPIC_PATH = re.compile("(/v3/v1|/v3|/v1)/messages(/|$)")


def clean_path(path: str) -> str:
    """The path with single slashes and none at its end."""
    return re.sub("/{2,}", "/", path).rstrip("/") or "/"


def routed_path(request: web.BaseRequest) -> str:
    """The path by which the router finds the endpoint, however the client spells it.

    Who may ask for what is decided by this path: with `request.path`, another spelling of a private
    one would lead around the check. As for the router, %2F is no slash.
    """
    return clean_path(request.rel_url.path_safe)


def is_anthropic(path: str) -> bool:
    """Whether a path belongs to Anthropic's Messages API."""
    return ANTHROPIC_PATH.match(clean_path(path)) is not None


def is_tensorflow(path: str) -> bool:
    """Whether a path belongs to TensorFlow Serving's API."""
    return TENSORFLOW_PATH.match(clean_path(path)) is not None


def is_page(path: str) -> bool:
    """Whether a routed path belongs to the page that people look at, the same for everybody."""
    return path == "/" or path.startswith("/web/")


def ignore_extra_slashes(router: web.UrlDispatcher) -> None:
    """Make the router find the endpoint of a path with double slashes, or one at its end.

    A redirect would do as well, but many clients do not follow one with a POST.
    """
    resolve = router.resolve

    @wraps(resolve)
    async def resolve_clean(request: web.Request) -> web.UrlMappingMatchInfo:
        path = request.rel_url.raw_path
        if path.endswith("/") or "//" in path:
            url = request.rel_url.with_path(clean_path(path), encoded=True, keep_query=True)
            request = request.clone(rel_url=url)
        return await resolve(request)

    router.resolve = resolve_clean  # type: ignore[method-assign]
