"""API keys: whose they are, what each may do, and how much at once."""

import hashlib
import hmac
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from server.api.clients.wrong_keys import WrongKeys
from server.errors import ClientLimitError, NotAllowedError

__all__ = [
    "ApiKey",
    "KeyRing",
    "Scope",
    "check_model",
    "check_scope",
    "concurrency_limits",
    "digest_of",
    "find_token",
]


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
class _Credit:
    """So many requests may start now; each second adds some, up to those of a minute."""

    num_requests: float
    updated_s: float


class KeyRing:
    """The keys of a server, which may be replaced while it runs."""

    def __init__(self, keys: Sequence[ApiKey], wrong_keys: WrongKeys | None = None) -> None:
        self.wrong_keys = WrongKeys() if wrong_keys is None else wrong_keys
        self._keys = tuple(keys)
        self._credits: dict[str | None, _Credit] = {}

    def replace(self, keys: Sequence[ApiKey]) -> None:
        """Take other keys from now on. Requests at work go on."""
        self._keys = tuple(keys)
        names = {key.name for key in keys}
        self._credits = {name: left for name, left in self._credits.items() if name in names}

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

    def count_request(self, key: ApiKey) -> None:
        """Count a request for its key's `requests_per_minute`. Raises ClientLimitError."""
        limit = key.requests_per_minute
        if limit is not None:
            _spend_credit(
                key, limit, self._credits.setdefault(key.name, _Credit(limit, time.monotonic()))
            )


def _spend_credit(key: ApiKey, limit: int, credit: _Credit) -> None:
    now = time.monotonic()
    per_second = limit / 60
    num_requests = min(limit, credit.num_requests + (now - credit.updated_s) * per_second)
    credit.num_requests, credit.updated_s = num_requests, now
    if num_requests < 1:
        problem = f"the API key {key.name!r} has reached its requests_per_minute, {limit}"
        wait_s = math.ceil((1 - num_requests) / per_second)
        raise ClientLimitError(f"{problem}; the key file sets it", "requests_per_minute", wait_s)
    credit.num_requests -= 1


def concurrency_limits(keys: Iterable[ApiKey]) -> Mapping[str, int]:
    """How many requests the clients of each key may have at work, by the key's name."""
    return {
        key.name: key.max_concurrent_requests
        for key in keys
        if key.name is not None and key.max_concurrent_requests is not None
    }


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
