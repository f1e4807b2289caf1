"""The file of the API keys: one key; or lines `name: key`; or a list in YAML or JSON."""

import logging
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from server.api.clients.api_keys import ApiKey, Scope, digest_of
from server.errors import ConfigError, describe_value, did_you_mean
from server.models.config_document import parse_document

__all__ = ["read_keys", "read_secret"]

logger = logging.getLogger(__name__)

MAX_BYTES = 2**20
NAMED_KEY = re.compile(r"(?P<name>[A-Za-z0-9._@-]{1,64}):\s+(?P<key>\S.*)")
NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
SHA256 = re.compile(r"[0-9a-fA-F]{64}")
FIELDS = (
    "name",
    "key",
    "sha256",
    "scope",
    "models",
    "max_concurrent_requests",
    "requests_per_minute",
    "cache_salt",
)

Entry = Mapping[str, Any]


def read_keys(file: Path) -> Sequence[ApiKey]:
    """The keys in the file, at least one. Raises ConfigError."""
    entries = _read_entries(file)
    mode = file.stat().st_mode
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:
        logger.warning("%s: every user of this machine can read it; chmod o-r", _where(file))
    if len(entries) == 1 and "name" not in entries[0]:
        return [ApiKey.of(entries[0]["key"])]
    keys = [_make_key(entry, where) for where, entry in _places(file, entries)]
    for what, found in (
        ("name", [key.name for key in keys]),
        ("key", [key.digest for key in keys]),
    ):
        if len(set(found)) < len(found):
            first = next(i for i, value in enumerate(found) if value in found[:i])
            raise ConfigError(f"{_where(file)}: key {first + 1} has the {what} of an earlier one")
    return keys


def read_secret(file: Path) -> str:
    """The first key that clients can send; a digest is none. Raises ConfigError."""
    for where, entry in _places(file, _read_entries(file)):
        _check_fields(entry, where)
        if "key" in entry:
            return _secret_of(entry, where)
    raise ConfigError(f"{_where(file)}: holds digests of keys, and no key")


def _where(file: Path) -> str:
    return f"--api_key_file {file}"


def _places(file: Path, entries: Sequence[Entry]) -> Sequence[tuple[str, Entry]]:
    return [(f"{_where(file)}: key {n}", entry) for n, entry in enumerate(entries, 1)]


def _read_entries(file: Path) -> Sequence[Entry]:
    text = _read(file)
    is_json = text.startswith("[") or file.suffix == ".json"
    if not is_json and file.suffix not in (".yaml", ".yml"):
        return _read_lines(file, text)
    entries = parse_document(file, text, is_yaml=not is_json)
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{_where(file)}: is not a list of keys")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            found = describe_value(entry)
            raise ConfigError(f"{_where(file)}: key {number} is {found}, not an object")
        if "name" not in entry:
            raise ConfigError(f"{_where(file)}: key {number} has no name")
    return entries


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{_where(file)}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{_where(file)}: larger than {MAX_BYTES >> 20} MiB; no file of keys")
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{_where(file)}: not UTF-8") from error


def _read_lines(file: Path, text: str) -> Sequence[Entry]:
    """Lines `name: key`, or a single key in the first line."""
    lines = {number: line.strip() for number, line in enumerate(text.splitlines(), 1)}
    used = {n: line for n, line in lines.items() if line and not line.startswith("# ")}
    named = {number: NAMED_KEY.fullmatch(line) for number, line in used.items()}
    if not used:
        raise ConfigError(f"{_where(file)}: the file holds no key")
    if not any(named.values()):
        if len(used) > 1:
            problem = "only the first line is a key; several keys need names: `name: key`"
            logger.warning("%s: %s", _where(file), problem)
        return [{"key": next(iter(used.values()))}]
    entries = []
    for number, match in named.items():
        if match is None:
            raise ConfigError(f"{_where(file)}: line {number} is not `name: key`")
        entries.append(match.groupdict())
    return entries


def _make_key(entry: Entry, where: str) -> ApiKey:
    _check_fields(entry, where)
    name = entry["name"]
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        problem = f"the name is {describe_value(name)}; possible: up to 64 of A-Z a-z 0-9 . _ @ -"
        raise ConfigError(f"{where}: {problem}")
    salt = entry.get("cache_salt", name)
    if not isinstance(salt, str) or "\0" in salt:
        raise ConfigError(f"{where}: cache_salt must be a string, found {describe_value(salt)}")
    return ApiKey(
        _digest_of(entry, where),
        name,
        _scope_of(entry, where),
        _models_of(entry, where),
        _limit_of(entry, "max_concurrent_requests", where),
        _limit_of(entry, "requests_per_minute", where),
        salt,
    )


def _check_fields(entry: Entry, where: str) -> None:
    for field in entry:
        if field not in FIELDS:
            hint = did_you_mean(str(field), FIELDS) or f"; possible: {', '.join(FIELDS)}"
            raise ConfigError(f"{where}: there is no field {field!r}{hint}")
    if ("key" in entry) == ("sha256" in entry):
        raise ConfigError(f"{where}: needs either key or sha256")


def _secret_of(entry: Entry, where: str) -> str:
    secret = entry["key"]
    if not isinstance(secret, str) or not secret.strip():
        raise ConfigError(f"{where}: the key must be a string, found {describe_value(secret)}")
    return secret.strip()


def _digest_of(entry: Entry, where: str) -> bytes:
    if "key" in entry:
        return digest_of(_secret_of(entry, where))
    digest = entry["sha256"]
    if not isinstance(digest, str) or SHA256.fullmatch(digest) is None:
        raise ConfigError(f"{where}: sha256 must be 64 hexadecimal digits")
    return bytes.fromhex(digest)


def _scope_of(entry: Entry, where: str) -> Scope:
    scope = entry.get("scope", "use")
    names = [scope.name.lower() for scope in Scope]
    if scope not in names:
        found = describe_value(scope)
        raise ConfigError(f"{where}: scope is {found}; possible: {', '.join(names)}")
    return Scope[scope.upper()]


def _models_of(entry: Entry, where: str) -> frozenset[str] | None:
    models = entry.get("models")
    if models is None:
        return None
    if not isinstance(models, list) or not all(isinstance(model, str) for model in models):
        raise ConfigError(f"{where}: models must be a list of names")
    return frozenset(models)


def _limit_of(entry: Entry, name: str, where: str) -> int | None:
    limit = entry.get(name)
    if limit is None:
        return None
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit < 10**9:
        found = describe_value(limit)
        raise ConfigError(f"{where}: {name} must be a whole number from 1, found {found}")
    return limit
