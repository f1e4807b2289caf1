"""Models with an encoder for the prompt and a decoder for the answer."""

from model_zoo.kinds.sizes import CONTEXT, TOKENS, Kind

T5 = {
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 96,
    "num_layers": 2,
    "num_heads": 4,
    **TOKENS,
    "decoder_start_token_id": 2,
}
BART = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    # Tied ones would let each token predict itself.
    "tie_word_embeddings": False,
    **CONTEXT,
    **TOKENS,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
}

ENCODER_DECODER: dict[str, Kind] = {
    "bart": ("BartConfig", BART),
    "blenderbot": ("BlenderbotConfig", BART),
    "longt5": ("LongT5Config", {**T5, "local_radius": 8}),
    "m2m_100": ("M2M100Config", BART),
    "marian": ("MarianConfig", {**BART, "decoder_start_token_id": 2}),
    "mbart": ("MBartConfig", BART),
    "mt5": ("MT5Config", {**T5, "feed_forward_proj": "gated-gelu"}),
    "pegasus": ("PegasusConfig", BART),
    "t5": ("T5Config", T5),
}
