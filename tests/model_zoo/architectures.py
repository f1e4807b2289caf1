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
MPT = {
    "d_model": 64,
    "n_heads": 4,
    "n_layers": 2,
    "expansion_ratio": 2,
    "max_seq_len": 512,
    "attn_config": {"alibi": True},
    **TOKENS,
}
LONGROPE = {
    "type": "longrope",
    "short_factor": [1.0 + 0.1 * i for i in range(8)],
    "long_factor": [2.0 + 0.5 * i for i in range(8)],
}

MOE = {"num_local_experts": 4, "num_experts_per_tok": 2}
QWEN_MOE = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "decoder_sparse_step": 1,
}
HEAD = {"head_dim": 16}
WINDOW = {"sliding_window": 24}
ALTERNATING = {**WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
GPT = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, **TOKENS}
ROTARY_GPT = {**GPT, "rotary_dim": 8}

# Name -> class of the configuration in transformers, and its arguments.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "arcee": ("ArceeConfig", SIZES),
    "biogpt": ("BioGptConfig", {**SIZES, "num_key_value_heads": 4}),
    "bloom": (
        "BloomConfig",
        {"hidden_size": 64, "n_head": 4, "n_layer": 2, "seq_length": 512, **TOKENS},
    ),
    "codegen": ("CodeGenConfig", ROTARY_GPT),
    "cohere": ("CohereConfig", SIZES),
    "cohere2": ("Cohere2Config", {**SIZES, **ALTERNATING}),
    "exaone4": ("Exaone4Config", {**SIZES, **ALTERNATING}),
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
    "gemma": ("GemmaConfig", {**SIZES, **HEAD}),
    "gemma2": ("Gemma2Config", {**SIZES, **HEAD, **ALTERNATING}),
    "gemma3": ("Gemma3TextConfig", {**SIZES, **HEAD, **ALTERNATING}),
    "glm": ("GlmConfig", {**SIZES, **HEAD}),
    "glm4": ("Glm4Config", {**SIZES, **HEAD}),
    "gpt2": ("GPT2Config", GPT),
    "gpt_bigcode": ("GPTBigCodeConfig", GPT),
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
    "gpt_neox": ("GPTNeoXConfig", SIZES),
    "gpt_oss": ("GptOssConfig", {**SIZES, **HEAD, **ALTERNATING, **MOE}),
    "gptj": ("GPTJConfig", ROTARY_GPT),
    "granite": ("GraniteConfig", SIZES),
    "granitemoe": ("GraniteMoeConfig", {**SIZES, **MOE}),
    "hunyuan_dense": ("HunYuanDenseV1Config", {**SIZES, **HEAD}),
    "llama": ("LlamaConfig", SIZES),
    "llama3_rope": (
        "LlamaConfig",
        {
            **SIZES,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    "llama4": (
        "Llama4TextConfig",
        {
            **SIZES,
            **HEAD,
            "intermediate_size_mlp": 96,
            "attention_chunk_size": 32,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
            "no_rope_layers": [1, 0],
        },
    ),
    "mistral_window": ("MistralConfig", {**SIZES, **WINDOW}),
    "mixtral": ("MixtralConfig", {**SIZES, **MOE}),
    "mpt": ("MptConfig", MPT),
    "mpt_six_heads": ("MptConfig", {**MPT, "d_model": 96, "n_heads": 6}),
    "olmo": ("OlmoConfig", SIZES),
    "olmo2": ("Olmo2Config", SIZES),
    "opt": (
        "OPTConfig",
        {
            "hidden_size": 64,
            "ffn_dim": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "word_embed_proj_dim": 64,
            "max_position_embeddings": 512,
            **TOKENS,
        },
    ),
    "persimmon": ("PersimmonConfig", SIZES),
    "phi": ("PhiConfig", {**SIZES, "num_key_value_heads": 4}),
    "phi3": ("Phi3Config", {**SIZES, **WINDOW}),
    "phi3_longrope": (
        "Phi3Config",
        {
            **SIZES,
            "original_max_position_embeddings": 64,
            "rope_scaling": LONGROPE,
            "sliding_window": None,
        },
    ),
    "phimoe": ("PhimoeConfig", {**SIZES, **MOE}),
    "qwen2": ("Qwen2Config", SIZES),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        {**SIZES, **QWEN_MOE, "shared_expert_intermediate_size": 48},
    ),
    "qwen3": ("Qwen3Config", {**SIZES, **HEAD}),
    "qwen3_moe": ("Qwen3MoeConfig", {**SIZES, **HEAD, **QWEN_MOE}),
    "smollm3": ("SmolLM3Config", SIZES),
    "stablelm": ("StableLmConfig", SIZES),
    "starcoder2": ("Starcoder2Config", SIZES),
    "lfm2": (
        "Lfm2Config",
        {**SIZES, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    ),
    "mamba": (
        "MambaConfig",
        {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8, **TOKENS},
    ),
    "xglm": (
        "XGLMConfig",
        {
            "d_model": 64,
            "ffn_dim": 96,
            "num_layers": 2,
            "attention_heads": 4,
            "max_position_embeddings": 512,
            **TOKENS,
        },
    ),
}
