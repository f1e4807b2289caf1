"""Models whose attention PagedAttention does not have are not run in that form."""

import re
from pathlib import Path
from typing import Any

import pytest
from support.engine_helpers import F32, change_config

from server.engine.model.attention import PLAIN_ATTENTION
from server.engine.model.model_loader import load_model
from server.errors import ModelLoadError


@pytest.mark.parametrize(
    "keys",
    [
        {"alibi": True},
        {"use_alibi": True},
        {"position_embedding_type": "alibi"},
        {"attn_config": {"alibi": True}},
    ],
    ids=str,
)
def test_alibi_that_the_graph_lost(folder: Path, keys: dict[str, Any]) -> None:
    change_config(folder, **keys)
    model = load_model(folder, "CPU", F32)
    assert model.states is not None
    assert re.search(r"asks for ALiBi, which .* loses", model.not_paged or "")


def test_a_decoder_without_its_encoder(folder: Path) -> None:
    change_config(folder, is_encoder_decoder=True)
    with pytest.raises(ModelLoadError, match="holds only a decoder"):
        load_model(folder, "CPU", F32)


def test_models_without_alibi_are_loaded_unchanged(folder: Path) -> None:
    change_config(folder, alibi=False, position_embedding_type="absolute", attn_config={})
    assert load_model(folder, "CPU", F32).attention == PLAIN_ATTENTION


@pytest.mark.parametrize(
    "keys", [{}, {"layer_types": ["full_attention"] * 100}, {"no_rope_layers": [1, 1]}], ids=str
)
def test_a_chunk_size_that_no_layer_uses(folder: Path, keys: dict[str, Any]) -> None:
    change_config(folder, attention_chunk_size=32, **keys)
    assert load_model(folder, "CPU", F32).attention == PLAIN_ATTENTION


@pytest.mark.parametrize(
    "keys",
    [
        {"model_type": "gpt_neo"},
        {"model_type": "mpt", "alibi": True, "n_heads": 0},
        {"model_type": "falcon", "alibi": True, "num_attention_heads": "four"},
        {"attention_chunk_size": 32, "layer_types": ["chunked_attention"]},
        {"attention_chunk_size": "32", "layer_types": ["chunked_attention"] * 100},
    ],
    ids=str,
)
def test_a_config_that_says_too_little(folder: Path, keys: dict[str, Any]) -> None:
    change_config(folder, **keys)
    with pytest.raises(ModelLoadError, match="does not describe the attention of a"):
        load_model(folder, "CPU", F32)


@pytest.mark.parametrize(
    "keys",
    [
        {"model_type": "phimoe"},
        {"model_type": "qwen2_moe", "use_sliding_window": True},
    ],
    ids=str,
)
def test_a_window_that_the_transformation_drops_is_set(folder: Path, keys: dict[str, Any]) -> None:
    """Without it the check of each load would refuse the model."""
    change_config(folder, sliding_window=24, **keys)
    assert load_model(folder, "CPU", F32).attention == PLAIN_ATTENTION
