"""Attention in every layer, and one feed-forward network; each special scale is far from 1."""

from model_zoo.kinds.sizes import ALTERNATING, CONTEXT, HEAD, SIZES, TOKENS, WINDOW, Kind

GPT = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, **TOKENS}
ROTARY_GPT = {**GPT, "rotary_dim": 8}
BLOOM = {"hidden_size": 64, "n_head": 4, "n_layer": 2, "seq_length": 512, **TOKENS}
FALCON = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    **CONTEXT,
    **TOKENS,
}
FALCON_ALIBI = {
    **FALCON,
    "alibi": True,
    "multi_query": False,
    "new_decoder_architecture": False,
    "parallel_attn": False,
    "bias": True,
}
FALCON_ROPE = {
    **FALCON,
    "alibi": False,
    "multi_query": True,
    "new_decoder_architecture": False,
    "parallel_attn": True,
    "bias": False,
}
FALCON_GROUPED = {
    **FALCON,
    "alibi": False,
    "new_decoder_architecture": True,
    "num_kv_heads": 2,
    "bias": False,
}
GPT_NEO = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 16,
    **CONTEXT,
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
OPT = {
    "hidden_size": 64,
    "ffn_dim": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "word_embed_proj_dim": 64,
    **CONTEXT,
    **TOKENS,
}
GRANITE = {
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.4,
    "attention_multiplier": 0.6,
    "logits_scaling": 2.0,
}
SOFT_CAPS = {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0}
SINGLE_HEADS = {**SIZES, "num_key_value_heads": 4}

DENSE: dict[str, Kind] = {
    "apertus": ("ApertusConfig", SIZES),
    "arcee": ("ArceeConfig", SIZES),
    "biogpt": ("BioGptConfig", SINGLE_HEADS),
    "bitnet": ("BitNetConfig", SIZES),
    "bloom": ("BloomConfig", BLOOM),
    "bloom_six_heads": ("BloomConfig", {**BLOOM, "hidden_size": 96, "n_head": 6}),
    "codegen": ("CodeGenConfig", ROTARY_GPT),
    "cohere": ("CohereConfig", {**SIZES, "logit_scale": 0.5}),
    "cohere_qk_norm": ("CohereConfig", {**SIZES, "use_qk_norm": True, "logit_scale": 0.5}),
    "cohere2": ("Cohere2Config", {**SIZES, **ALTERNATING, "logit_scale": 0.5}),
    "ernie4_5": ("Ernie4_5Config", SIZES),
    "exaone4": ("Exaone4Config", {**SIZES, **ALTERNATING}),
    "falcon_alibi": ("FalconConfig", FALCON_ALIBI),
    "falcon_alibi_six_heads": (
        "FalconConfig",
        {**FALCON_ALIBI, "hidden_size": 96, "num_attention_heads": 6},
    ),
    "falcon_grouped": ("FalconConfig", FALCON_GROUPED),
    "falcon_rope": ("FalconConfig", FALCON_ROPE),
    "gemma": ("GemmaConfig", {**SIZES, **HEAD}),
    "gemma2": (
        "Gemma2Config",
        {**SIZES, **HEAD, **ALTERNATING, **SOFT_CAPS, "query_pre_attn_scalar": 4},
    ),
    "gemma3": (
        "Gemma3TextConfig",
        {**SIZES, **HEAD, **ALTERNATING, "query_pre_attn_scalar": 4, "rope_local_base_freq": 100.0},
    ),
    "glm": ("GlmConfig", {**SIZES, **HEAD, "attention_bias": True}),
    "glm4": ("Glm4Config", {**SIZES, **HEAD, "attention_bias": True}),
    "gpt2": ("GPT2Config", GPT),
    "gpt2_scaled_by_layer": ("GPT2Config", {**GPT, "scale_attn_by_inverse_layer_idx": True}),
    "gpt_bigcode": ("GPTBigCodeConfig", GPT),
    "gpt_bigcode_all_heads": ("GPTBigCodeConfig", {**GPT, "multi_query": False}),
    "gpt_neo": ("GPTNeoConfig", GPT_NEO),
    "gpt_neox": ("GPTNeoXConfig", {**SIZES, "rotary_pct": 0.5}),
    "gpt_neox_serial": ("GPTNeoXConfig", {**SIZES, "use_parallel_residual": False}),
    "gpt_neox_japanese": ("GPTNeoXJapaneseConfig", {**SIZES, "intermediate_multiple_size": 2}),
    "gptj": ("GPTJConfig", ROTARY_GPT),
    "granite": ("GraniteConfig", {**SIZES, **GRANITE}),
    "helium": ("HeliumConfig", {**SIZES, **HEAD}),
    "hunyuan_dense": ("HunYuanDenseV1Config", {**SIZES, **HEAD}),
    "llama": ("LlamaConfig", SIZES),
    "llama_biases": ("LlamaConfig", {**SIZES, "attention_bias": True, "mlp_bias": True}),
    "llama_one_kv_head": ("LlamaConfig", {**SIZES, "num_key_value_heads": 1}),
    "llama_tied": ("LlamaConfig", {**SIZES, "tie_word_embeddings": True}),
    "llama_wide_heads": ("LlamaConfig", {**SIZES, "head_dim": 48}),
    "ministral": ("MinistralConfig", {**SIZES, **HEAD, **ALTERNATING}),
    "ministral3": ("Ministral3Config", {**SIZES, **HEAD}),
    "mistral": ("MistralConfig", {**SIZES, "sliding_window": None}),
    "mistral_window": ("MistralConfig", {**SIZES, **WINDOW}),
    "mpt": ("MptConfig", MPT),
    "mpt_six_heads": ("MptConfig", {**MPT, "d_model": 96, "n_heads": 6}),
    "mpt_scaled": ("MptConfig", {**MPT, "attn_config": {"alibi": True, "softmax_scale": 0.6}}),
    "nemotron": ("NemotronConfig", SIZES),
    "olmo": ("OlmoConfig", {**SIZES, "clip_qkv": 1.0}),
    "olmo2": ("Olmo2Config", SIZES),
    "olmo3": ("Olmo3Config", {**SIZES, **ALTERNATING}),
    "opt": ("OPTConfig", OPT),
    "opt_projected": (
        "OPTConfig",
        {**OPT, "word_embed_proj_dim": 32, "do_layer_norm_before": False},
    ),
    "persimmon": ("PersimmonConfig", SIZES),
    "phi": ("PhiConfig", {**SINGLE_HEADS, "qk_layernorm": True}),
    "phi3": ("Phi3Config", {**SIZES, **WINDOW}),
    "phi3_partial_rotary": ("Phi3Config", {**SIZES, "partial_rotary_factor": 0.5}),
    "qwen2": ("Qwen2Config", SIZES),
    "qwen2_window": (
        "Qwen2Config",
        {**SIZES, **WINDOW, "use_sliding_window": True, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3Config", {**SIZES, **HEAD}),
    "qwen3_window": ("Qwen3Config", {**SIZES, **HEAD, **ALTERNATING, "use_sliding_window": True}),
    "seed_oss": ("SeedOssConfig", {**SIZES, **HEAD}),
    "smollm3": ("SmolLM3Config", {**SIZES, "no_rope_layers": [1, 0]}),
    "smollm3_window": (
        "SmolLM3Config",
        {**SIZES, **ALTERNATING, "use_sliding_window": True, "no_rope_layers": [1, 0]},
    ),
    "stablelm": ("StableLmConfig", SIZES),
    "stablelm_parallel": (
        "StableLmConfig",
        {**SIZES, "use_parallel_residual": True, "use_qkv_bias": True},
    ),
    "starcoder2": ("Starcoder2Config", SIZES),
    "starcoder2_window": ("Starcoder2Config", {**SIZES, **WINDOW}),
    "vaultgemma": ("VaultGemmaConfig", {**SIZES, **HEAD, **ALTERNATING, **SOFT_CAPS}),
}
