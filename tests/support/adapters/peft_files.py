"""Adapters with random weights, in the files that PEFT writes."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

CONFIG: Mapping[str, Any] = {
    "peft_type": "LORA",
    "base_model_name_or_path": "org/base",
    "bias": "none",
    "lora_alpha": 8,
    "r": 4,
}


def modules_of(model: Path) -> dict[str, tuple[int, int]]:
    """The inputs and outputs of the linear layers of an exported model, by their names."""
    found = {}
    for node in ov.Core().read_model(model / "openvino_model.xml").get_ordered_ops():
        name = node.get_friendly_name()
        if node.get_type_name() == "MatMul" and name.startswith("__module.") and "_proj" in name:
            sizes = (node.input_value(0), node.output(0))
            inputs, outputs = (size.get_partial_shape()[-1].get_length() for size in sizes)
            found[name.removeprefix("__module.").partition("/")[0]] = (inputs, outputs)
    return found


def write_adapter(
    folder: Path,
    modules: Mapping[str, tuple[int, int]],
    seed: int,
    strength: float = 0.5,
    **config: Any,
) -> Path:
    """An adapter of these layers, with `config` beside what adapter_config.json has by default."""
    from safetensors.numpy import save_file

    values = {**CONFIG, **config}
    random = np.random.default_rng(seed)
    tensors = {}
    for module, (num_inputs, num_outputs) in modules.items():
        first = random.standard_normal((values["r"], num_inputs), dtype=np.float32)
        second = random.standard_normal((num_outputs, values["r"]), dtype=np.float32)
        tensors[f"base_model.model.{module}.lora_A.weight"] = first / num_inputs**0.5
        tensors[f"base_model.model.{module}.lora_B.weight"] = second * strength
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(values))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def ending_with(
    modules: Mapping[str, tuple[int, int]], ends: Iterable[str]
) -> dict[str, tuple[int, int]]:
    """The layers whose names end with one of these."""
    return {name: sizes for name, sizes in modules.items() if name.endswith(tuple(ends))}
