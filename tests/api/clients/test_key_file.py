"""The forms of the file of API keys."""

import hashlib
import json
import logging
import os
from pathlib import Path

import pytest

from server.api.clients.api_keys import ApiKey, Scope, digest_of
from server.api.clients.key_file import read_keys, read_secret
from server.errors import ConfigError

LIST = """
- name: alice
  key: secret-a
  models: [m, org/n]
  max_concurrent_requests: 2
  requests_per_minute: 60
- {name: bob, sha256: DIGEST, scope: read, cache_salt: team}
""".replace("DIGEST", hashlib.sha256(b"secret-b").hexdigest())


def write(folder: Path, content: bytes | str, name: str = "keys") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("secret\n", "secret"),
        (" secret \t\r\nother\n", "secret"),
        ("\ufeffschlüssel", "schlüssel"),
        ("two words", "two words"),
        ("a:b", "a:b"),
        ("\n# a comment\nsecret", "secret"),
    ],
)
def test_a_single_key_has_no_name_and_allows_everything(
    content: str, key: str, tmp_path: Path
) -> None:
    file = write(tmp_path, content)
    assert read_keys(file) == [ApiKey(digest_of(key), None, Scope.ADMIN)]
    assert read_secret(file) == key


def test_more_lines_without_names_are_no_keys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(read_keys(write(tmp_path, "first\nsecond\n"))) == 1
    assert "only the first line is a key" in caplog.text


def test_lines_with_names(tmp_path: Path) -> None:
    file = write(tmp_path, "# for the web shop\nalice: secret a\n\nbob@example.com:\tsecret-b\n")
    alice, bob = read_keys(file)
    assert alice == ApiKey(digest_of("secret a"), "alice", Scope.USE, cache_salt="alice")
    assert (bob.name, bob.digest) == ("bob@example.com", digest_of("secret-b"))
    assert read_secret(file) == "secret a"


@pytest.mark.parametrize("name", ["keys.yaml", "keys.yml", "keys.json", "keys"])
def test_lists(name: str, tmp_path: Path) -> None:
    content = LIST
    if "y" not in name.partition(".")[2]:
        digest = hashlib.sha256(b"secret-b").hexdigest()
        bob = {"name": "bob", "sha256": digest, "scope": "read", "cache_salt": "team"}
        alice = {"name": "alice", "key": "secret-a", "models": ["m", "org/n"]}
        limits = {"max_concurrent_requests": 2, "requests_per_minute": 60}
        content = json.dumps([{**alice, **limits}, bob])
    file = write(tmp_path, content, name)
    models = frozenset(["m", "org/n"])
    assert read_keys(file) == [
        ApiKey(digest_of("secret-a"), "alice", Scope.USE, models, 2, 60, "alice"),
        ApiKey(digest_of("secret-b"), "bob", Scope.READ, cache_salt="team"),
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "the file holds no key"),
        (b"\xff", "not UTF-8"),
        (b"x" * (2**20 + 1), "larger than 1 MiB"),
        ("a: 1\nsecond", "line 2 is not `name: key`"),
        ("first\nb: 2", "line 1 is not `name: key`"),
        ("a: 1\na: 2", "key 2 has the name of an earlier one"),
        ("a: 1\nb: 1", "key 2 has the key of an earlier one"),
        ("[]", "is not a list of keys"),
        ("[1]", "key 1 is the number 1, not an object"),
        ('[{"key": "x"}]', "key 1 has no name"),
        ('[{"name": "a b", "key": "x"}]', "the name is the string 'a b'"),
        ('[{"name": "a"}]', "key 1: needs either key or sha256"),
        ('[{"name": "a", "key": "x", "sha256": "y"}]', "needs either key or sha256"),
        ('[{"name": "a", "key": " "}]', "the key must be a string"),
        ('[{"name": "a", "key": 5}]', "the key must be a string, found the number 5"),
        ('[{"name": "a", "sha256": "x"}]', "sha256 must be 64 hexadecimal digits"),
        ('[{"name": "a", "key": "x", "model": []}]', "no field 'model'; did you mean 'models'"),
        ('[{"name": "a", "key": "x", "scope": "all"}]', "possible: read, use, admin"),
        ('[{"name": "a", "key": "x", "scope": ["use"]}]', "scope is a list; possible"),
        ('[{"name": "a", "key": "x", "models": "m"}]', "models must be a list of names"),
        ('[{"name": "a", "key": "x", "requests_per_minute": 0}]', "a whole number from 1"),
        ('[{"name": "a", "key": "x", "cache_salt": "\\u0000"}]', "cache_salt must be"),
        ('[{"name"', "not JSON at line 1"),
    ],
)
def test_mistakes(content: bytes | str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read_keys(write(tmp_path, content))
    assert problem in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_keys(tmp_path / "missing")


def test_a_digest_cannot_be_sent(tmp_path: Path) -> None:
    content = json.dumps([{"name": "a", "sha256": "0" * 64}])
    with pytest.raises(ConfigError, match="holds digests of keys"):
        read_secret(write(tmp_path, content))


def test_a_file_that_everybody_can_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write(tmp_path, "secret")
    read_keys(file)
    assert not caplog.records
    file.chmod(0o644)
    read_keys(file)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "every user of this machine can read it" in caplog.text


def test_a_pipe(tmp_path: Path) -> None:
    """The shell gives one for `--api_key_file <(command)`."""
    reader, writer = os.pipe()
    os.write(writer, b"secret\n")
    os.close(writer)
    try:
        assert read_keys(Path(f"/dev/fd/{reader}")) == [ApiKey.of("secret")]
    finally:
        os.close(reader)
