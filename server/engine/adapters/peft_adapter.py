"""An adapter in PEFT's files: adapter_config.json and adapter_model.safetensors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from server.engine.adapters.peft_config import CONFIG_FILE, PeftConfig
from server.errors import ModelLoadError
from server.host.safetensors import read_header, read_safetensors

__all__ = ["LowRank", "ModuleShape", "PeftAdapter"]

WEIGHTS_FILE = "adapter_model.safetensors"
PICKLED_FILE = "adapter_model.bin"
MAX_VALUE = 1e38
# PEFT leaves the name of the adapter out, but other tools do not.
MATRIX = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<part>[AB])(?:\.[^.]+)?\.weight"
)
# What tensors of other names mean, by a part of the name.
OTHER_TENSORS = {
    "lora_magnitude_vector": "DoRA is not supported",
    "lora_embedding_": "adapters of embeddings are not supported",
    ".bias": "biases are not supported",
}


class ModuleShape(NamedTuple):
    """The sizes of an adapted layer."""

    num_inputs: int
    num_outputs: int
    rank: int


class LowRank(NamedTuple):
    """What one layer adds to its product x @ W: (x @ a) @ b.

    `a` is f32[inputs, rank], and `b` f32[rank, outputs], with the scale in it.
    """

    a: npt.NDArray[np.float32]
    b: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PeftAdapter:
    """The adapter in a folder, or in a .safetensors file with its adapter_config.json beside it.

    `shapes` are those of the layers that it changes, by their names in the base model.
    """

    file: Path
    config: PeftConfig
    shapes: Mapping[str, ModuleShape]

    @classmethod
    def find(cls, path: Path) -> "PeftAdapter":
        """Read all but the weights. Raises ModelLoadError."""
        file = path / WEIGHTS_FILE if path.is_dir() else path
        if not file.exists():
            hint = ""
            if (file.parent / PICKLED_FILE).exists():
                hint = f"; {PICKLED_FILE} may run code: save the adapter as safetensors"
            raise ModelLoadError(f"{file}: no such file{hint}")
        config = PeftConfig.read(file.parent / CONFIG_FILE)
        try:
            entries = read_header(file)[0]
        except (OSError, ValueError) as error:
            raise ModelLoadError(f"{file}: {error}") from error
        return cls(file, config, _find_shapes(file, entries, config))

    @property
    def rank(self) -> int:
        """The largest rank of its layers."""
        return max(shape.rank for shape in self.shapes.values())

    def read(self, weight: float) -> dict[str, LowRank]:
        """The matrices of each layer, scaled by a further `weight`. Raises ModelLoadError."""
        try:
            tensors = read_safetensors(self.file)
        except (OSError, ValueError) as error:
            raise ModelLoadError(f"{self.file}: {error}") from error
        halves: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
        for name, tensor in tensors.items():
            found = MATRIX.fullmatch(name)
            assert found is not None, "find() has refused other names"
            if not (np.abs(tensor) < MAX_VALUE).all():
                raise ModelLoadError(
                    f"{self.file}: {name} has values that are no numbers, or too large"
                )
            halves.setdefault(found["module"], {})[found["part"]] = tensor.T
        return {
            module: LowRank(parts["A"], self._scaled(module, parts["B"], weight))
            for module, parts in halves.items()
        }

    def _scaled(
        self, module: str, values: npt.NDArray[np.float32], weight: float
    ) -> npt.NDArray[np.float32]:
        scale = weight * self.config.scale_of(module)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = values * np.float32(scale)
        # The limit of bf16, which they may be rounded to, is a little lower than that of f32.
        if not (np.abs(scaled) < MAX_VALUE).all():
            raise ModelLoadError(
                f"{self.file}: {module} has values that are too large with its factor of {scale:g}"
            )
        return scaled


def _find_shapes(
    file: Path, entries: Mapping[str, Any], config: PeftConfig
) -> dict[str, ModuleShape]:
    halves: dict[str, dict[str, tuple[int, int]]] = {}
    for name, entry in entries.items():
        found = MATRIX.fullmatch(name)
        if found is None or found["module"].endswith("embed_tokens"):
            raise ModelLoadError(f"{file}: {_describe_other(name)}")
        halves.setdefault(found["module"], {})[found["part"]] = _shape_of(file, name, entry)
    if not halves:
        raise ModelLoadError(f"{file}: it has no tensors")
    return {module: _join(file, module, parts, config) for module, parts in halves.items()}


def _describe_other(name: str) -> str:
    for part, meaning in OTHER_TENSORS.items():
        if part in name:
            return f"it has the tensor {name!r}: {meaning}"
    return (
        f"it has the tensor {name!r}, which is no matrix of a linear layer's LoRA; whole layers, "
        "as modules_to_save has them, and embeddings are not supported"
    )


def _shape_of(file: Path, name: str, entry: Any) -> tuple[int, int]:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    sizes = shape if isinstance(shape, list) and len(shape) == 2 else [0]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ModelLoadError(f"{file}: {name} has the shape {shape}; it must be a matrix")
    return sizes[0], sizes[1]


def _join(
    file: Path, module: str, parts: Mapping[str, tuple[int, int]], config: PeftConfig
) -> ModuleShape:
    for part in "AB":
        if part not in parts:
            raise ModelLoadError(f"{file}: {module} lacks its matrix lora_{part}")
    (rank, num_inputs), (num_outputs, rank_of_b) = parts["A"], parts["B"]
    if rank != rank_of_b:
        raise ModelLoadError(
            f"{file}: {module} has matrices of the ranks {rank} and {rank_of_b}; both must have "
            "the same"
        )
    if rank != config.rank_of(module):
        raise ModelLoadError(
            f"{file}: {module} has the rank {rank}, but {CONFIG_FILE} says {config.rank_of(module)}"
        )
    return ModuleShape(num_inputs, num_outputs, rank)
