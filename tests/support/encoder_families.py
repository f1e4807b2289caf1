"""Export text encoders of the families that optimum-intel lacks or exports wrongly, and ask them.

`python encoder_families.py FOLDER` writes FOLDER/<family>/openvino and FOLDER/families.json: how
far the hidden states of each export are from those of its source in torch.
"""

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from optimum.exporters.openvino import main_export

from export_models.conversion.encoder_architectures import register_encoders
from export_models.conversion.more_architectures import register
from export_models.conversion.nomic_bert import (
    NomicBertConfig,
    NomicBertModel,
    register_nomic_bert,
)
from server.host.openvino_core import shared_core

# The first is longer than the windows below; the second is padded.
IDS = np.array([[2, *range(5, 35)], [2, 7, 9, 3, *[0] * 27]])
SIZES = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "initializer_range": 0.4,
}
NOMIC = {
    "vocab_size": 40,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_inner": 24,
    "n_positions": 64,
}
NOMIC_IDS = [[3, 17, 5, 9, 22, 31], [8, 4, 2, 0, 0, 0]]


def nomic_bert() -> NomicBertModel:
    """With weights that are the same everywhere, by the names of the published checkpoints."""
    model = NomicBertModel(NomicBertConfig(**NOMIC)).eval()
    for name, weight in model.named_parameters():
        start = zlib.crc32(name.encode()) % 1000
        steps = torch.arange(weight.numel(), dtype=torch.float64) ** 1.5
        values = torch.sin(steps * 0.7 + start).reshape(weight.shape)
        is_scale = weight.dim() == 1 and name.endswith("weight")
        weight.data = (1 + 0.1 * values if is_scale else values).float()
    return model


def hidden_states(model: Any, ids: Any) -> Any:
    """f32[batch, tokens, size] of a model in torch."""
    tokens = torch.tensor(ids)
    with torch.no_grad():
        return model(input_ids=tokens, attention_mask=(tokens > 0).long())[0].numpy()


def families() -> dict[str, Any]:
    """A random model of each."""
    return {
        "modernbert": transformers.ModernBertModel(
            transformers.ModernBertConfig(
                **SIZES, local_attention=8, global_attn_every_n_layers=2, reference_compile=False
            )
        ),
        "gemma3": transformers.Gemma3TextModel(
            transformers.Gemma3TextConfig(
                **SIZES,
                num_key_value_heads=2,
                head_dim=8,
                sliding_window=9,
                layer_types=["sliding_attention", "full_attention"],
                use_bidirectional_attention=True,
            )
        ),
        "nomic": nomic_bert(),
    }


def difference(source: Path, to: Path) -> float:
    """Export a model, and compare the hidden states of all tokens that are no padding."""
    auto: Any = transformers.AutoModel
    model = auto.from_pretrained(source).eval()
    config = model.config
    is_bidirectional = getattr(config, "use_bidirectional_attention", False)
    register_encoders(config.model_type, is_bidirectional=is_bidirectional)
    main_export(str(source), to, task="feature-extraction", library_name="transformers")
    compiled = shared_core().compile_model(
        to / "openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    found = compiled({"input_ids": IDS, "attention_mask": (IDS > 0).astype(np.int64)})[0]
    return float(np.abs(found - hidden_states(model, IDS))[IDS > 0].max())


def make(folder: Path) -> None:
    """All families, and what Nomic BERT says."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    register()
    register_nomic_bert()
    differences = {}
    for name, model in families().items():
        model.save_pretrained(folder / name / "source")
        differences[name] = difference(folder / name / "source", folder / name / "openvino")
    states = hidden_states(nomic_bert(), NOMIC_IDS)
    found = [states[0, 0, :4], states[0, 5, :4], states[1, 2, :4]]
    answer = {"differences": differences, "nomic": [row.tolist() for row in found]}
    (folder / "families.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
