"""Tiny model folders with real tokenizers; see `support.tokenizer_folders`."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def maker(exporters: None) -> ModuleType:
    """The functions that make them, whose libraries take seconds to import."""
    from support import tokenizer_folders

    return tokenizer_folders


@pytest.fixture(scope="session")
def byte_level(maker: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A chat model's folder with a byte-level tokenizer that adds no special tokens."""
    return maker.write_model(tmp_path_factory.mktemp("byte_level"), maker.make_byte_level())


@pytest.fixture(scope="session")
def mistral(maker: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same with special tokens around tool calls."""
    hf = maker.make_byte_level()
    hf.add_special_tokens({"additional_special_tokens": ["[TOOL_CALLS]", "[ARGS]", "[OTHER]"]})
    return maker.write_model(tmp_path_factory.mktemp("mistral"), hf)


@pytest.fixture(scope="session")
def metaspace(maker: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a SentencePiece-like tokenizer that puts a BOS token in front."""
    return maker.write_model(tmp_path_factory.mktemp("metaspace"), maker.make_metaspace())


@pytest.fixture(scope="session")
def word_piece(maker: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a tokenizer that puts special tokens on both sides."""
    return maker.write_model(tmp_path_factory.mktemp("word_piece"), maker.make_word_piece())


@pytest.fixture(scope="session", params=["byte_level", "metaspace", "word_piece"])
def model(exporters: None, request: pytest.FixtureRequest) -> Any:
    """Each kind of tokenizer in turn, or those that a test names."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session", params=["left", "right"])
def truncating(
    maker: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Any:
    """A folder whose tokenizer cuts texts after 8 tokens and pads shorter ones to 8."""
    hf = maker.make_metaspace()
    hf.pad_token = "</s>"
    hf.padding_side = hf.truncation_side = request.param
    hf.model_max_length = 8
    folder = tmp_path_factory.mktemp("truncating")
    return maker.write_model(folder, hf, truncation=True, use_max_padding=True)


@pytest.fixture(scope="session")
def sentencepiece_op(maker: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as older exports made it, with SentencePiece inside the operations."""
    folder: Path = maker.write_sentencepiece(tmp_path_factory.mktemp("sentencepiece_op"))
    return folder
