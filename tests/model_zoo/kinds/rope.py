"""Llama and others with each kind of rotary position embedding; texts are longer than the first."""

from model_zoo.kinds.experts import MOE
from model_zoo.kinds.sizes import SIZES, Kind

ORIGINAL = {"original_max_position_embeddings": 64}
FACTORS = {
    "short_factor": [1.0 + 0.1 * i for i in range(8)],
    "long_factor": [2.0 + 0.5 * i for i in range(8)],
}
LONGROPE = {"type": "longrope", **FACTORS}
SCALINGS = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 8.0, **ORIGINAL},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        **ORIGINAL,
    },
}

ROPE: dict[str, Kind] = {
    **{
        f"llama_{name}_rope": ("LlamaConfig", {**SIZES, "rope_scaling": scaling})
        for name, scaling in SCALINGS.items()
    },
    # No text of the zoo grows beyond 58 tokens. If one did, transformers would keep its first keys
    # as they are, but with Phi 3, where they are computed again, as here with every model.
    "llama_longrope": (
        "LlamaConfig",
        {
            **SIZES,
            "original_max_position_embeddings": 58,
            "rope_scaling": {
                "rope_type": "longrope",
                **FACTORS,
                "original_max_position_embeddings": 58,
            },
        },
    ),
    "qwen2_yarn_rope": ("Qwen2Config", {**SIZES, "rope_scaling": SCALINGS["yarn"]}),
    "phi3_longrope": (
        "Phi3Config",
        {**SIZES, **ORIGINAL, "rope_scaling": LONGROPE, "sliding_window": None},
    ),
    "phimoe_longrope": (
        "PhimoeConfig",
        {
            **SIZES,
            **MOE,
            **ORIGINAL,
            "rope_scaling": {
                **LONGROPE,
                **ORIGINAL,
                "short_mscale": 1.1,
                "long_mscale": 1.3,
            },
            "sliding_window": None,
        },
    ),
}
