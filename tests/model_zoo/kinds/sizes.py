"""What the tiny models have in common."""

from typing import Any

# The name of a class of configurations in transformers, and its arguments.
Kind = tuple[str, dict[str, Any]]

VOCAB_SIZE = 320
CONTEXT = {"max_position_embeddings": 512}
TOKENS = {"vocab_size": VOCAB_SIZE, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    **CONTEXT,
    **TOKENS,
}
HEAD = {"head_dim": 16}
# Shorter than most prompts of the zoo, so that it hides some of their tokens.
WINDOW = {"sliding_window": 24}
ALTERNATING = {**WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
