"""Mixtures of experts, and latent attention, which comes with most of those that have it."""

from model_zoo.kinds.dense import GRANITE
from model_zoo.kinds.sizes import ALTERNATING, CONTEXT, HEAD, SIZES, TOKENS, Kind

MOE = {"num_local_experts": 4, "num_experts_per_tok": 2}
QWEN_MOE = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "decoder_sparse_step": 1,
}
ROUTED = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "routed_scaling_factor": 1.8,
}
GROUPED = {**ROUTED, "n_group": 2, "topk_group": 1, "norm_topk_prob": True}
LATENT = {
    "kv_lora_rank": 32,
    "q_lora_rank": 24,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}
DBRX = {
    "d_model": 64,
    "n_heads": 4,
    "n_layers": 2,
    "max_seq_len": 512,
    "attn_config": {"kv_n_heads": 2, "clip_qkv": 2.0, "rope_theta": 10000.0},
    "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    **TOKENS,
}
LLAMA4 = {
    **SIZES,
    **HEAD,
    "intermediate_size_mlp": 96,
    "attention_chunk_size": 32,
    "num_local_experts": 2,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 2,
    "no_rope_layers": [1, 0],
    "floor_scale": 16,
}

EXPERTS: dict[str, Kind] = {
    "dbrx": ("DbrxConfig", DBRX),
    "deepseek_v2": (
        "DeepseekV2Config",
        {**SIZES, **ROUTED, **LATENT, "num_key_value_heads": 4, "topk_method": "greedy"},
    ),
    "deepseek_v3": ("DeepseekV3Config", {**SIZES, **GROUPED, **LATENT, "num_key_value_heads": 4}),
    "dots1": ("Dots1Config", {**SIZES, **HEAD, **GROUPED}),
    "ernie4_5_moe": (
        "Ernie4_5_MoeConfig",
        {
            **SIZES,
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_intermediate_size": 48,
            "moe_num_shared_experts": 1,
            "moe_layer_start_index": 1,
        },
    ),
    "flex_olmo": ("FlexOlmoConfig", {**SIZES, "num_experts": 4, "num_experts_per_tok": 2}),
    "glm4_moe": ("Glm4MoeConfig", {**SIZES, **HEAD, **GROUPED, "use_qk_norm": True}),
    "gpt_oss": ("GptOssConfig", {**SIZES, **HEAD, **ALTERNATING, **MOE}),
    "granitemoe": ("GraniteMoeConfig", {**SIZES, **MOE, **GRANITE}),
    "granitemoeshared": (
        "GraniteMoeSharedConfig",
        {**SIZES, **MOE, **GRANITE, "shared_intermediate_size": 48},
    ),
    "hunyuan_moe": (
        "HunYuanMoEV1Config",
        {**SIZES, **HEAD, "num_experts": 4, "moe_topk": [2, 2]},
    ),
    "jetmoe": (
        "JetMoeConfig",
        {
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
            "kv_channels": 16,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            **CONTEXT,
            **TOKENS,
        },
    ),
    "llama4": ("Llama4TextConfig", LLAMA4),
    "mixtral": ("MixtralConfig", {**SIZES, **MOE}),
    "olmoe": ("OlmoeConfig", {**SIZES, "num_experts": 4, "num_experts_per_tok": 2}),
    "phimoe": ("PhimoeConfig", {**SIZES, **MOE}),
    "qwen2_moe": ("Qwen2MoeConfig", {**SIZES, **QWEN_MOE, "shared_expert_intermediate_size": 48}),
    "qwen3_moe": ("Qwen3MoeConfig", {**SIZES, **HEAD, **QWEN_MOE}),
}
