"""The API keys in a file or in the environment."""

import os
from collections.abc import Sequence
from pathlib import Path

from server.api.clients.api_keys import ApiKey
from server.api.clients.key_file import read_keys, read_secret

__all__ = ["KEY_VARIABLE", "find_keys", "read_key"]

KEY_VARIABLE = "API_KEY"


def find_keys(file: Path | None) -> Sequence[ApiKey]:
    """The keys that clients must send; none if they need none. Raises ConfigError."""
    if file is not None:
        return read_keys(file)
    secret = _key_of_environment()
    return () if secret is None else [ApiKey.of(secret)]


def read_key(file: Path | None) -> str | None:
    """The key to send: the first in the file, or the one in the environment. Raises ConfigError."""
    return _key_of_environment() if file is None else read_secret(file)


def _key_of_environment() -> str | None:
    return os.environ.get(KEY_VARIABLE, "").strip() or None
