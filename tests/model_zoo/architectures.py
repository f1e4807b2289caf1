"""Tiny models with random weights, one for each kind of architecture: what transformers build."""

from typing import Any

VOCAB_SIZE = 320
TOKENS = {"vocab_size": VOCAB_SIZE, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    **TOKENS,
}
FALCON = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "max_position_embeddings": 512,
    **TOKENS,
}
LONGROPE = {
    "type": "longrope",
    "short_factor": [1.0 + 0.1 * i for i in range(8)],
    "long_factor": [2.0 + 0.5 * i for i in range(8)],
}

# Name -> class of the configuration in transformers, and its arguments.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom": (
        "BloomConfig",
        {"hidden_size": 64, "n_head": 4, "n_layer": 2, "seq_length": 512, **TOKENS},
    ),
    "falcon_alibi": (
        "FalconConfig",
        {
            **FALCON,
            "alibi": True,
            "multi_query": False,
            "new_decoder_architecture": False,
            "parallel_attn": False,
            "bias": True,
        },
    ),
    "falcon_rope": (
        "FalconConfig",
        {
            **FALCON,
            "alibi": False,
            "multi_query": True,
            "new_decoder_architecture": False,
            "parallel_attn": True,
            "bias": False,
        },
    ),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 16,
            "max_position_embeddings": 512,
            **TOKENS,
        },
    ),
    "llama": ("LlamaConfig", SIZES),
    "llama4": (
        "Llama4TextConfig",
        {
            **SIZES,
            "head_dim": 16,
            "intermediate_size_mlp": 96,
            "attention_chunk_size": 32,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
            "no_rope_layers": [1, 0],
        },
    ),
    "mistral_window": ("MistralConfig", {**SIZES, "sliding_window": 24}),
    "mpt": (
        "MptConfig",
        {
            "d_model": 64,
            "n_heads": 4,
            "n_layers": 2,
            "expansion_ratio": 2,
            "max_seq_len": 512,
            "attn_config": {"alibi": True},
            **TOKENS,
        },
    ),
    "mpt_six_heads": (
        "MptConfig",
        {
            "d_model": 96,
            "n_heads": 6,
            "n_layers": 2,
            "expansion_ratio": 2,
            "max_seq_len": 512,
            "attn_config": {"alibi": True, "alibi_bias_max": 4},
            **TOKENS,
        },
    ),
    "phi3_longrope": (
        "Phi3Config",
        {
            **SIZES,
            "original_max_position_embeddings": 64,
            "rope_scaling": LONGROPE,
            "sliding_window": None,
        },
    ),
}
