"""Write LoRA adapters with random weights for an exported model, in the files of PEFT.

python demos/benchmark/lora/make_adapters.py models/m loras --num 8 --rank 16
"""

import argparse
import json
from pathlib import Path

import numpy as np
import openvino as ov

PREFIX = "__module."
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj")


def make_adapters(
    model: Path, folder: Path, num: int, rank: int, modules: tuple[str, ...]
) -> list[Path]:
    """The folders a0, a1, ... of adapters for the modules whose names end like these."""
    sizes = _sizes_of(model, modules)
    paths = [folder / f"a{number}" for number in range(num)]
    for number, path in enumerate(paths):
        _write(path, sizes, rank, np.random.default_rng(number))
    return paths


def _sizes_of(model: Path, modules: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """The inputs and outputs of the linear layers, by their names in the PyTorch model."""
    sizes = {}
    for node in ov.Core().read_model(model / "openvino_model.xml").get_ordered_ops():
        name = node.get_friendly_name().removeprefix(PREFIX).partition("/")[0]
        if node.get_type_name() == "MatMul" and name.endswith(modules):
            shapes = (port.get_partial_shape() for port in (node.input_value(0), node.output(0)))
            num_inputs, num_outputs = (shape[-1].get_length() for shape in shapes)
            sizes[name] = num_inputs, num_outputs
    return sizes


def _write(
    folder: Path, sizes: dict[str, tuple[int, int]], rank: int, random: np.random.Generator
) -> None:
    header: dict[str, object] = {}
    data = b""
    for name, (num_inputs, num_outputs) in sizes.items():
        for part, shape in (("A", (rank, num_inputs)), ("B", (num_outputs, rank))):
            values = (random.standard_normal(shape) / shape[1] ** 0.5).astype(np.float16).tobytes()
            header[f"base_model.model.{name}.lora_{part}.weight"] = {
                "dtype": "F16",
                "shape": shape,
                "data_offsets": [len(data), len(data) + len(values)],
            }
            data += values
    text = json.dumps(header).encode()
    folder.mkdir(parents=True, exist_ok=True)
    content = len(text).to_bytes(8, "little") + text + data
    (folder / "adapter_model.safetensors").write_bytes(content)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def main() -> None:
    """Read the command line, and write the adapters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of an exported model")
    parser.add_argument("folder", type=Path, help="where the folders a0, a1, ... are written")
    parser.add_argument("--num", type=int, default=2)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--modules", default=",".join(ATTENTION), help="ends of names of layers")
    arguments = parser.parse_args()
    modules = tuple(arguments.modules.split(","))
    for path in make_adapters(
        arguments.model, arguments.folder, arguments.num, arguments.rank, modules
    ):
        print(path)


if __name__ == "__main__":
    main()
