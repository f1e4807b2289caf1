"""Where the API key comes from."""

from pathlib import Path

import pytest

from server.api.clients.api_keys import ApiKey
from server.cli.access.api_keys import find_keys, read_key


def test_the_key_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "from environment ")
    assert (find_keys(None), read_key(None)) == (
        [ApiKey.of("from environment")],
        "from environment",
    )
    file = tmp_path / "key"
    file.write_text("from file")
    assert (find_keys(file), read_key(file)) == ([ApiKey.of("from file")], "from file")
    monkeypatch.setenv("API_KEY", "")
    assert (find_keys(None), read_key(None)) == ((), None)
