"""What config.json says of attention is what transformers make of it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from server.engine.model.load_check.alibi import alibi_slopes
from server.engine.model.load_check.declared import declared_layers
from server.engine.model.load_check.rope import Rope

NUM_LAYERS = 12
SIZES = {"num_hidden_layers": NUM_LAYERS, "sliding_window": 24}

# Classes of transformers that work out themselves which layers have the window.
CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("Cohere2Config", {}),
    ("Cohere2Config", {"sliding_window_pattern": 3}),
    ("Dots1Config", {"max_window_layers": 5}),
    ("Exaone4Config", {}),
    ("Gemma2Config", {}),
    ("Gemma3TextConfig", {}),
    ("Gemma3TextConfig", {"sliding_window_pattern": 4}),
    ("GptOssConfig", {}),
    ("MinistralConfig", {}),
    ("Olmo3Config", {}),
    ("Qwen2Config", {"use_sliding_window": True, "max_window_layers": 5}),
    ("Qwen2Config", {"use_sliding_window": False, "max_window_layers": 5}),
    ("Qwen3Config", {"use_sliding_window": True, "max_window_layers": 5}),
    ("SmolLM3Config", {"use_sliding_window": True}),
    ("SmolLM3Config", {"use_sliding_window": False}),
]


@pytest.mark.parametrize(("name", "keys"), CONFIGS, ids=str)
@pytest.mark.parametrize("has_types", [True, False])
def test_windows(exporters: None, name: str, keys: dict[str, Any], has_types: bool) -> None:
    import transformers

    config = getattr(transformers, name)(**SIZES, **keys)
    expected = [24 if kind == "sliding_attention" else 0 for kind in config.layer_types]
    stored = {**config.to_dict(), **keys}
    if not has_types:
        del stored["layer_types"]
    assert [layer.window for layer in declared_layers(stored, NUM_LAYERS)] == expected


@pytest.mark.parametrize("num_heads", [4, 6, 16])
def test_slopes(exporters: None, num_heads: int) -> None:
    import torch
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    bloom = build_alibi_tensor(torch.ones(1, 2), num_heads, torch.float32).numpy()
    found = alibi_slopes({"model_type": "bloom", "n_head": num_heads})
    np.testing.assert_allclose(found, bloom[:, 0, 1] - bloom[:, 0, 0], rtol=1e-5)
    # Whatever `attn_config` says, MPT has ALiBi in transformers.
    mpt = build_mpt_alibi_tensor(num_heads, 2).numpy()
    found = alibi_slopes({"model_type": "mpt", "n_heads": num_heads, "attn_config": {}})
    np.testing.assert_allclose(found, mpt[:, 0, 1] - mpt[:, 0, 0], rtol=1e-5)


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 4.0},
        {"rope_type": "dynamic", "factor": 4.0},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256},
        {"rope_type": "yarn", "factor": 40, "beta_fast": 8, "beta_slow": 2, "truncate": False},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 256,
        },
        {
            "rope_type": "longrope",
            "short_factor": [1 + 0.1 * i for i in range(16)],
            "long_factor": [2.0] * 16,
            "factor": 4.0,
        },
    ],
    ids=lambda scaling: str(scaling["rope_type"]),
)
def test_frequencies(exporters: None, scaling: dict[str, Any]) -> None:
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    keys = {"rope_theta": 5e5, "max_position_embeddings": 1024}
    config = SimpleNamespace(
        **keys, head_dim=32, hidden_size=128, num_attention_heads=4, rope_scaling=scaling
    )
    expected, _ = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, "cpu", seq_len=64)
    found = Rope(scaling["rope_type"], 5e5, scaling).frequencies(16, keys)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4)
