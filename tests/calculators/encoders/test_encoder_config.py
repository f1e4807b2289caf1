"""The longest text of a model, and other facts of its JSON files."""

import json
from pathlib import Path
from typing import Any

import pytest

from calculators.encoders.encoder_config import EncoderConfig
from server.errors import ModelLoadError


def read(folder: Path, **files: Any) -> EncoderConfig:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return EncoderConfig.read(folder)


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({}, 1024),
        ({"max_position_embeddings": 512, "n_positions": 7}, 512),
        ({"max_position_embeddings": "x", "n_positions": 300}, 300),
        ({"n_ctx": 99, "sliding_window": 5}, 99),
        ({"sliding_window": 5}, 5),
        ({"max_position_embeddings": -1}, 1024),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 66, "pad_token_id": 1}, 64),
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
        # XLM-RoBERTa with rotary positions, in code of its own.
        ({"model_type": "jina", "max_position_embeddings": 8194, "pad_token_id": 1}, 8192),
        ({"text_config": {"max_position_embeddings": 8}}, 1024),
    ],
)
def test_the_longest_text(tmp_path: Path, config: Any, length: int) -> None:
    assert read(tmp_path, config=config).max_length == length


def test_other_files_may_shorten_it(tmp_path: Path) -> None:
    config = {"max_position_embeddings": 512}
    assert read(tmp_path, config=config, tokenizer_config={"model_max_length": 1e30}).max_length
    found = read(tmp_path, config=config, tokenizer_config={"model_max_length": 300})
    assert found.max_length == 300
    found = read(tmp_path, sentence_bert_config={"max_seq_length": 256})
    assert found.max_length == 256
    assert read(tmp_path, sentence_bert_config={"max_seq_length": None}).max_length == 300


def test_the_token_for_padding(tmp_path: Path) -> None:
    added = {"7": {"content": "[PAD]"}, "x": {"content": "[PAD]"}}
    tokenizer = {"pad_token": {"content": "[PAD]"}, "added_tokens_decoder": added}
    assert read(tmp_path, tokenizer_config=tokenizer).pad_token_id == 7
    assert read(tmp_path, config={"pad_token_id": 3}).pad_token_id == 3
    assert read(tmp_path, config={}, tokenizer_config={}).pad_token_id == 0


@pytest.mark.parametrize(
    ("config", "is_causal"),
    [
        ({"architectures": ["BertModel"]}, False),
        ({"architectures": ["Qwen3ForCausalLM"]}, True),
        ({"architectures": ["Gemma3ForCausalLM"], "use_bidirectional_attention": True}, False),
        ({}, False),
    ],
)
def test_decoders_are_known(tmp_path: Path, config: Any, is_causal: bool) -> None:
    assert read(tmp_path, config=config).is_causal is is_causal


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "cannot be read as JSON"), (b"[1]", "holds a list; it must be an object")],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelLoadError, match=f"config.json: {message}"):
        EncoderConfig.read(tmp_path)
