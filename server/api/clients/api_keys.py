"""API keys: whose they are, what each may do, and how much at once."""

import hashlib
import hmac
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum

from server.errors import ClientLimitError, NotAllowedError

__all__ = ["ApiKey", "KeyRing", "Scope", "check_model", "check_scope", "digest_of", "find_token"]


class Scope(IntEnum):
    """What a key allows; each includes those before it."""

    READ = 0
    """What changes nothing: GET."""
    USE = 1
    """To ask the models."""
    ADMIN = 2
    """To reload the configuration."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that clients send, known by its SHA-256 digest.

    The key of a file with nothing but a key has no name. None stands for no limit, and for all
    models. Keys with the same `cache_salt` share the prefix cache.
    """

    digest: bytes
    name: str | None = None
    scope: Scope = Scope.ADMIN
    models: frozenset[str] | None = None
    max_concurrent_requests: int | None = None
    requests_per_minute: int | None = None
    cache_salt: str = ""

    @classmethod
    def of(cls, secret: str) -> "ApiKey":
        """The only key, without a name, which allows everything."""
        return cls(digest_of(secret))

    def allows_model(self, *names: str) -> bool:
        """Whether the key may use the model that has these names."""
        return self.models is None or not self.models.isdisjoint(names)


@dataclass(slots=True)
class _Usage:
    """`num_credits` requests may start now; each second some are added, up to those of a minute."""

    num_running: int = 0
    num_credits: float = math.inf
    updated_s: float = field(default_factory=time.monotonic)


class KeyRing:
    """The keys of a server, which may be replaced while it runs, and what their clients do now."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple(keys)
        self._usages: dict[str | None, _Usage] = {}

    def replace(self, keys: Sequence[ApiKey]) -> None:
        """Take other keys from now on. Requests at work go on."""
        self._keys = tuple(keys)
        names = {key.name for key in keys}
        self._usages = {name: used for name, used in self._usages.items() if name in names}

    def find(self, token: str) -> ApiKey | None:
        """The key that a client sent; None if it is none of these.

        All are compared, so that the time tells nothing of them.
        """
        digest, found = digest_of(token), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def cache_salt_of(self, key: ApiKey) -> str:
        """What keeps the prefix cache of a key's clients apart from others; "" for a single key."""
        return key.cache_salt if len(self._keys) > 1 else ""

    @contextmanager
    def use(self, key: ApiKey) -> Iterator[None]:
        """Count a request of a key while it is worked on. Raises ClientLimitError."""
        usage = self._usages.setdefault(key.name, _Usage())
        limit = key.max_concurrent_requests
        if limit is not None and usage.num_running >= limit:
            raise _limit_error(key, "max_concurrent_requests", limit, 1)
        _spend_credit(key, usage)
        usage.num_running += 1
        try:
            yield
        finally:
            usage.num_running -= 1


def _spend_credit(key: ApiKey, usage: _Usage) -> None:
    limit = key.requests_per_minute
    if limit is None:
        return
    now = time.monotonic()
    per_second = limit / 60
    credit = min(limit, usage.num_credits + (now - usage.updated_s) * per_second)
    usage.num_credits, usage.updated_s = credit, now
    if credit < 1:
        wait_s = math.ceil((1 - credit) / per_second)
        raise _limit_error(key, "requests_per_minute", limit, wait_s)
    usage.num_credits -= 1


def _limit_error(key: ApiKey, name: str, limit: int, retry_after_s: int) -> ClientLimitError:
    problem = f"the API key {key.name!r} has reached its {name}, {limit}; the key file sets it"
    return ClientLimitError(problem, name, retry_after_s)


def check_scope(key: ApiKey | None, scope: Scope) -> None:
    """Raise NotAllowedError if the key allows less. Without a key, everything is open to all."""
    if key is not None and key.scope < scope:
        has, needs = key.scope.name.lower(), scope.name.lower()
        problem = f"the API key {key.name!r} has the scope {has}, and this needs {needs}"
        raise NotAllowedError(problem)


def check_model(key: ApiKey | None, *names: str) -> None:
    """Raise NotAllowedError if the key does not allow the model that has these names."""
    if key is None or key.models is None or key.allows_model(*names):
        return
    possible = ", ".join(sorted(key.models)) or "none"
    problem = f"the API key {key.name!r} does not allow the model {names[0]!r}"
    raise NotAllowedError(f"{problem}; it allows: {possible}")


def digest_of(secret: str) -> bytes:
    """The SHA-256 digest of a key."""
    # aiohttp decodes header bytes that are not UTF-8 in this way.
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


def find_token(headers: Mapping[str, str]) -> str:
    """The key that came with a request, as OpenAI's clients or Anthropic's send it; or "".

    OpenAI's send `Authorization: Bearer <key>`, Anthropic's `x-api-key: <key>`. `headers` must
    ignore case, or have names in lower case.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        token = headers.get("x-api-key", "")
    return token.strip()
