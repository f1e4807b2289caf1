"""Layers with a state in place of keys and values, alone or between layers with attention."""

from model_zoo.kinds.dense import GRANITE
from model_zoo.kinds.experts import MOE, QWEN_MOE
from model_zoo.kinds.sizes import CONTEXT, HEAD, SIZES, TOKENS, Kind

MAMBA = {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8, **TOKENS}
# Head sizes and groups of Mamba 2; each model has names of its own for them.
HYBRID_MAMBA = {
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_n_groups": 2,
    "mamba_d_state": 16,
    "mamba_expand": 2,
    "mamba_chunk_size": 16,
}
LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
LFM2 = {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}

STATE: dict[str, Kind] = {
    "bamba": ("BambaConfig", {**SIZES, **HYBRID_MAMBA, "attn_layer_indices": [1]}),
    "falcon_h1": ("FalconH1Config", {**SIZES, **HEAD, **HYBRID_MAMBA, "mamba_d_ssm": 128}),
    "falcon_mamba": ("FalconMambaConfig", MAMBA),
    "granitemoehybrid": (
        "GraniteMoeHybridConfig",
        {
            **SIZES,
            **MOE,
            **GRANITE,
            **HYBRID_MAMBA,
            "shared_intermediate_size": 48,
            "layer_types": ["mamba", "attention"],
        },
    ),
    "jamba": (
        "JambaConfig",
        {
            **SIZES,
            "num_experts": 4,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_d_state": 8,
            "use_mamba_kernels": False,
        },
    ),
    "lfm2": ("Lfm2Config", {**SIZES, **LFM2}),
    "lfm2_moe": (
        "Lfm2MoeConfig",
        {**SIZES, **LFM2, **QWEN_MOE, "num_dense_layers": 1},
    ),
    "mamba": ("MambaConfig", MAMBA),
    "mamba2": (
        "Mamba2Config",
        {
            **MAMBA,
            "num_heads": 8,
            "head_dim": 16,
            "n_groups": 2,
            "chunk_size": 16,
        },
    ),
    "nemotron_h": (
        "NemotronHConfig",
        {**SIZES, **HEAD, "hybrid_override_pattern": "M*"},
    ),
    "qwen3_next": ("Qwen3NextConfig", {**SIZES, **HEAD, **QWEN_MOE, **LINEAR}),
    "qwen3_5": ("Qwen3_5TextConfig", {**SIZES, **HEAD, **LINEAR}),
    "qwen3_5_moe": ("Qwen3_5MoeTextConfig", {**SIZES, **HEAD, **QWEN_MOE, **LINEAR}),
    "recurrent_gemma": (
        "RecurrentGemmaConfig",
        {**SIZES, "attention_window_size": 24, "block_types": ["recurrent", "attention"]},
    ),
    "zamba2": (
        "Zamba2Config",
        {
            **SIZES,
            "num_key_value_heads": 4,
            "n_mamba_heads": 8,
            "mamba_d_state": 16,
            "mamba_ngroups": 2,
            # Beyond a chunk, transformers' answers to the first tokens depend on later ones.
            "chunk_size": 256,
            "layers_block_type": ["mamba", "hybrid"],
            "num_mem_blocks": 1,
            "use_mem_rope": True,
            "use_mamba_kernels": False,
        },
    ),
}

OTHERS: dict[str, Kind] = {
    "gemma3n": (
        "Gemma3nTextConfig",
        {
            **SIZES,
            **HEAD,
            "vocab_size_per_layer_input": 320,
            "hidden_size_per_layer_input": 16,
            "num_hidden_layers": 4,
            "num_kv_shared_layers": 2,
            "laurel_rank": 8,
            "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
            "sliding_window": 24,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "final_logit_softcapping": 2.0,
        },
    ),
    "gemma4": (
        "Gemma4TextConfig",
        {
            **SIZES,
            **HEAD,
            "global_head_dim": 32,
            "vocab_size_per_layer_input": 320,
            "hidden_size_per_layer_input": 16,
            "num_hidden_layers": 4,
            "num_kv_shared_layers": 2,
            "sliding_window": 24,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "final_logit_softcapping": 2.0,
        },
    ),
    "xglm": (
        "XGLMConfig",
        {
            "d_model": 64,
            "ffn_dim": 96,
            "num_layers": 2,
            "attention_heads": 4,
            **CONTEXT,
            **TOKENS,
        },
    ),
}
