"""LoRA adapters with random weights, in the names that tools write."""

from pathlib import Path

import numpy as np
import openvino as ov

RANK = 4
STRENGTH = 0.5


def layers_of(model: Path) -> dict[str, tuple[int, int]]:
    """The inputs and outputs of the attention layers of a UNet or text encoder, by their names."""
    found = {}
    for node in ov.Core().read_model(model).get_ops():
        name = node.get_friendly_name()
        if node.get_type_name() == "MatMul" and (".to_" in name or ".self_attn." in name):
            layer = name.removeprefix("__module.").rpartition("/aten::linear")[0]
            shape = node.input_value(1).get_partial_shape()
            found[layer] = (shape[1].get_length(), shape[0].get_length())
    return found


def write_lora(
    path: Path,
    layers: dict[str, tuple[int, int]],
    seed: int,
    down: str = "lora_unet_{kohya}.lora_down.weight",
    up: str = "lora_unet_{kohya}.lora_up.weight",
) -> Path:
    """An adapter of these layers; `down` and `up` name the two matrices of each."""
    from safetensors.numpy import save_file

    random = np.random.default_rng(seed)
    tensors = {}
    for layer, (num_inputs, num_outputs) in layers.items():
        names = {"layer": layer, "kohya": layer.replace(".", "_")}
        first = random.standard_normal((RANK, num_inputs), dtype=np.float32)
        second = random.standard_normal((num_outputs, RANK), dtype=np.float32)
        tensors[down.format(**names)] = first * STRENGTH
        tensors[up.format(**names)] = second * STRENGTH
    save_file(tensors, path)
    return path
