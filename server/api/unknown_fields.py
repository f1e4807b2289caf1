"""What happens to request fields that no endpoint knows."""

import logging
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from urllib.parse import quote

from aiohttp import web

from server.protocol.field_rules import UnknownFields

__all__ = [
    "IGNORED_FIELDS_HEADER",
    "UNKNOWN_FIELD_POLICY",
    "UnknownFieldPolicy",
    "add_ignored_fields",
]

logger = logging.getLogger(__name__)

IGNORED_FIELDS_HEADER = "X-Ignored-Fields"
MAX_NAMES_IN_HEADER = 20
# Many clients take no header above 8 kB; a name of 100 characters may be one of 1,200 here.
MAX_HEADER_CHARACTERS = 2000
# Clients choose the names, so only so many are remembered and logged.
MAX_LOGGED_NAMES = 200

IGNORED_FIELDS = web.RequestKey("ignored_fields", str)


class UnknownFieldPolicy:
    """Refuses unknown fields, or ignores them and says so in the answer and once in the log."""

    def __init__(self, *, refuses: bool) -> None:
        self._refuses = refuses
        self._logged: set[str] = set()

    def apply(self, request: web.Request, unknown: UnknownFields) -> None:
        """Treat the unknown fields of a request. Raises InvalidRequestError."""
        if not unknown.names:
            return
        if self._refuses:
            unknown.refuse()
        request[IGNORED_FIELDS] = _as_header(unknown.names)
        for name in unknown.names:
            self._log(name, unknown)

    def _log(self, name: str, unknown: UnknownFields) -> None:
        if name in self._logged or len(self._logged) > MAX_LOGGED_NAMES:
            return
        self._logged.add(name)
        if len(self._logged) > MAX_LOGGED_NAMES:
            logger.warning(
                "Ignored %d unknown fields; further ones are not logged", len(self._logged)
            )
            return
        logger.warning("Ignored the %s", unknown.describe(name))


def _as_header(names: Sequence[str]) -> str:
    """As many of the names as a header may have."""
    quoted = [quote(name, safe="[]") for name in names[:MAX_NAMES_IN_HEADER]]
    sizes = list(accumulate(len(name) + 2 for name in quoted))
    shown = quoted[: bisect(sizes, MAX_HEADER_CHARACTERS)]
    return ", ".join(shown + ["..."] * (len(shown) < len(names)))


async def add_ignored_fields(request: web.Request, response: web.StreamResponse) -> None:
    """Put the names into the header of the answer, where pages of other origins can read it."""
    names = request.get(IGNORED_FIELDS)
    if names is not None:
        response.headers[IGNORED_FIELDS_HEADER] = names
        response.headers.add("Access-Control-Expose-Headers", IGNORED_FIELDS_HEADER)


UNKNOWN_FIELD_POLICY = web.AppKey("unknown_field_policy", UnknownFieldPolicy)
