"""The web pages that may use the server, by their origin (https://url.spec.whatwg.org/#origin)."""

from urllib.parse import urlsplit

from server.api.clients.address import is_loopback

__all__ = ["AllowedOrigins"]

ANY = "*"
LOCALHOST = "localhost"
# Pages of programs that are installed here. No web site has such an origin.
DESKTOP_SCHEMES = frozenset({"app", "tauri", "vscode-webview"})


class AllowedOrigins:
    """`names` are origins, `localhost` for all pages and programs of this machine, or `*`."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = frozenset(names) - {LOCALHOST}
        self._has_localhost = LOCALHOST in names
        self.has_all = ANY in names

    def allow(self, origin: str) -> bool:
        """Whether the page may use the server. `origin` is as browsers send it."""
        if self.has_all or origin in self._names:
            return True
        return self._has_localhost and _is_local(origin)


def _is_local(origin: str) -> bool:
    try:
        url = urlsplit(origin)
        host = url.hostname or ""
    except ValueError:
        return False
    if url.scheme in ("http", "https"):
        # A browser sends nothing else after the host and port.
        return is_loopback(host) and origin == f"{url.scheme}://{url.netloc}" and "@" not in origin
    return url.scheme in DESKTOP_SCHEMES
