"""Which folders of a repository hold a model."""

from pathlib import Path

import pytest

from server.errors import ConfigError
from server.models.model_repository import list_models


def test_folders_with_a_model(tmp_path: Path) -> None:
    for file in (
        "b/graph.pbtxt",
        "b/inner/graph.pbtxt",
        "a/openvino_model.xml",
        "org/m/1/graph.pbtxt",
        "classic/3/model.xml",
        ".b.partial-12345678/model/graph.pbtxt",
        "empty/readme.txt",
        "words/one/notes.txt",
        "config.json",
    ):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert list_models(tmp_path) == ["a", "b", "classic", "org/m"]


def test_a_missing_folder(tmp_path: Path) -> None:
    assert list_models(tmp_path) == []
    with pytest.raises(ConfigError, match="no such folder"):
        list_models(tmp_path / "missing")
