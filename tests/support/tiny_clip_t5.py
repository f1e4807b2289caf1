"""Make a CLIP and a T5 with random weights, and what transformers makes of some inputs.

The folder gets `clip/1` (an IR), `processor`, `t5`, images, and `expected.json`.
"""

import json
import string
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from PIL import Image
from tokenizers import Tokenizer, models
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    T5Config,
    T5ForConditionalGeneration,
    T5TokenizerFast,
)

LABELS = ["cat", "dog", "horse", "computer"]
TEXTS = ["a book under his arm", "he came back with two", "z"]
NUM_IMAGES = 6
LETTERS = string.ascii_lowercase


class ImageLogits(torch.nn.Module):
    """CLIP with one output."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, input_ids: Any, attention_mask: Any, pixel_values: Any) -> torch.Tensor:
        """The logits, of shape (images, texts)."""
        found = self.clip(
            input_ids=input_ids, attention_mask=attention_mask, pixel_values=pixel_values
        )
        logits: torch.Tensor = found.logits_per_image
        return logits


def clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """Of single letters."""
    folder.mkdir(parents=True)
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    merges.write_text("#version: 0.2\n")
    return CLIPTokenizer(str(vocabulary), str(merges), model_max_length=77)


def t5_tokenizer() -> T5TokenizerFast:
    """Of single letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in LETTERS]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    return T5TokenizerFast(tokenizer_object=tokenizer, extra_ids=0, model_max_length=64)


def random_clip(folder: Path) -> tuple[CLIPModel, CLIPProcessor]:
    """A model with weights so large that its answers differ, and its processor."""
    tokenizer = clip_tokenizer(folder / "tokens")
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "initializer_factor": 8.0,
    }
    config = CLIPConfig(
        text_config=sizes | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id},
        vision_config=sizes | {"image_size": 32, "patch_size": 8},
        projection_dim=32,
        initializer_factor=8.0,
    )
    return CLIPModel(config).eval(), CLIPProcessor(images, tokenizer)


def make_clip(folder: Path) -> list[list[float]]:
    """Write model, processor and images; returns the logits of each image."""
    clip, processor = random_clip(folder)
    processor.save_pretrained(folder / "processor")
    random = np.random.default_rng(0)
    images = [
        Image.fromarray(random.integers(0, 256, (2, 3, 3), np.uint8)).resize((70, 40))
        for _ in range(NUM_IMAGES)
    ]
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
    texts = [f"a photo of a {label}" for label in LABELS]
    inputs = processor(text=texts, images=images, return_tensors="pt", padding=True)
    with torch.no_grad():
        logits: list[list[float]] = clip(**inputs).logits_per_image.tolist()
    model = ov.convert_model(ImageLogits(clip), example_input=dict(inputs))
    ports = [*model.inputs, *model.outputs]
    names = ("input_ids", "attention_mask", "pixel_values", "logits_per_image")
    for port, name in zip(ports, names, strict=True):
        port.set_names({name})
    ov.save_model(model, folder / "clip" / "1" / "clip.xml", compress_to_fp16=False)
    return logits


def make_t5(folder: Path) -> list[str]:
    """Write the model and its tokenizer; returns what it makes of each text."""
    tokenizer = t5_tokenizer()
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4}
    config = T5Config(
        vocab_size=len(tokenizer), decoder_start_token_id=0, initializer_factor=3.0, **sizes
    )
    t5 = T5ForConditionalGeneration(config).eval()
    t5.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    inputs = [tokenizer(text, return_tensors="pt") for text in TEXTS]
    outputs = [t5.generate(**each, max_new_tokens=20, num_beams=4)[0] for each in inputs]
    return [tokenizer.decode(output, skip_special_tokens=True) for output in outputs]


def make(folder: Path) -> None:
    """Write everything."""
    torch.manual_seed(0)
    expected = {"scores": make_clip(folder), "translations": make_t5(folder / "t5")}
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
