from pathlib import Path

import pytest

from export_models.source import SourceKind, find_source
from server.errors import ExportError


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("org/model", SourceKind.CHECKPOINT_HUB),
        ("gpt2", SourceKind.CHECKPOINT_HUB),
        ("OpenVINO/model-int8-ov", SourceKind.OPENVINO_HUB),
    ],
)
def test_hub_model(text: str, kind: SourceKind) -> None:
    source = find_source(text)
    assert source.kind is kind
    assert source.model_name == source.location == text


def test_folder_is_named_after_itself(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoint)
    source = find_source(".")
    assert source.model_name == "tiny"
    assert source.location == str(checkpoint)


@pytest.mark.parametrize(
    "text", ["a/b/c", "./missing", "/nowhere", "has space", "~/nowhere", "../x"]
)
def test_missing_folder(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExportError, match="no such folder"):
        find_source(text)


def test_nul(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"null|no such folder"):
        find_source("a\0b")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds neither openvino_model.xml"),
        ({"config.json": "{"}, "not JSON"),
        ({"config.json": b"\xff\xfe"}, "not JSON"),
        ({"config.json": "[]"}, "not a JSON object"),
        ({"config.json": "{}"}, "no model_type"),
        ({"config.json": '{"model_type": "llama"}'}, "no weights"),
        (
            {"config.json": '{"model_type": "llama"}', "model.safetensors": ""},
            "no tokenizer",
        ),
        ({"openvino_language_model.xml": ""}, "vision models are not supported yet"),
        (
            {
                "config.json": '{"model_type": "llama"}',
                "model-1-of-2.safetensors": "",
                "model.safetensors.index.json": (
                    '{"weight_map": {"a": "model-1-of-2.safetensors", "b": "two.safetensors"}}'
                ),
            },
            "1 of 2 files of weights are missing: two.safetensors",
        ),
        (
            {
                "config.json": '{"model_type": "llama"}',
                "x.bin": "",
                "pytorch_model.bin.index.json": "[]",
            },
            "does not say where the weights are",
        ),
    ],
)
def test_folder_that_is_no_model(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ExportError, match=message):
        find_source(str(tmp_path))


def test_unreadable_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ExportError, match="cannot be read"):
        find_source(str(tmp_path))


def test_file(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    with pytest.raises(ExportError, match="is a file"):
        find_source(str(tmp_path / "model.gguf"))
