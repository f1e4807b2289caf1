"""Make embedders that are decoders, with random weights, and what transformers says of them.

`python decoder_embedders.py FOLDER` writes, for each kind, FOLDER/<kind>/source as transformers has
it, FOLDER/<kind>/openvino as optimum exports it for the task feature-extraction, and
FOLDER/<kind>/expected.npy: the hidden state at the last token of each of `prompts()`. CLASSIFIER is
one more, exported for text-classification; its `expected` are its scores.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

VOCAB_SIZE = 320
WINDOW = 48
SIZES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    # The default makes all weights so small that every text gets the same vector.
    "initializer_range": 0.2,
}
GEMMA = {"query_pre_attn_scalar": 16, "sliding_window": WINDOW}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("Qwen3", {}),
    "qwen2": ("Qwen2", {}),
    "llama": ("Llama", {}),
    "mistral": ("Mistral", {"sliding_window": WINDOW}),
    "gemma2": ("Gemma2", GEMMA),
    "bidirectional": ("Gemma3Text", {**GEMMA, "use_bidirectional_attention": True}),
}
"""All but the last are causal: a token sees itself and earlier ones, in mistral and in every second
layer of gemma2 those of a window."""

CLASSIFIER = "classifier"
CAUSAL = [kind for kind in KINDS if kind != "bidirectional"]


def prompts() -> list[list[int]]:
    """32 prompts of random tokens, of lengths around blocks and windows."""
    rng = np.random.default_rng(5)
    lengths = [1, 2, 3, 31, 32, 33, 47, 48, 49, 63, 64, 65, 96, 128, 200, 300]
    return [rng.integers(3, VOCAB_SIZE, length).tolist() for length in lengths * 2]


def make(folder: Path) -> None:
    """Write all kinds."""
    import torch
    import transformers

    from export_models.conversion.encoder_architectures import register_encoders

    register_encoders("mistral", is_bidirectional=False)
    torch.set_num_threads(1)
    for kind, (family, more) in KINDS.items():
        torch.manual_seed(0)
        config = getattr(transformers, f"{family}Config")(**{**SIZES, **more})
        model = getattr(transformers, f"{family}Model")(config).eval()
        source = folder / kind / "source"
        model.save_pretrained(source)
        with torch.no_grad():
            states = [model(torch.tensor([p])).last_hidden_state[0, -1] for p in prompts()]
        np.save(folder / kind / "expected.npy", torch.stack(states).numpy())
        export(folder / kind, "feature-extraction")
    make_classifier(folder / CLASSIFIER)


def make_classifier(folder: Path) -> None:
    """A Qwen3 with two scores of the last token, as rerankers are converted for classification."""
    import torch
    from transformers import Qwen3Config, Qwen3ForSequenceClassification

    torch.manual_seed(0)
    config = Qwen3Config(**SIZES, num_labels=2, pad_token_id=0)
    model = Qwen3ForSequenceClassification(config).eval()
    model.save_pretrained(folder / "source")
    with torch.no_grad():
        scores = [model(torch.tensor([prompt])).logits[0] for prompt in prompts()]
    np.save(folder / "expected.npy", torch.stack(scores).numpy())
    export(folder, "text-classification")


def export(folder: Path, task: str) -> None:
    """Convert `folder`/source as optimum does for a task."""
    from optimum.exporters.openvino import main_export

    main_export(
        str(folder / "source"),
        folder / "openvino",
        task=task,
        library_name="transformers",
        convert_tokenizer=False,
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]))
