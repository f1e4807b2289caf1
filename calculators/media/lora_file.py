"""Adapter files: what is in them, and the names that openvino-genai knows."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from server.errors import ModelLoadError
from server.host.safetensors import read_header

__all__ = ["check_lora_file", "read_lora_file"]

# The first matrix makes `rank` numbers of a layer's input, the second the layer's output of them.
PARTS = re.compile(r"(?P<layer>.+?)[._](?P<part>lora[._]?(A|B|down|up)(\.default)?)\.weight")
SECOND = ("B", "up")

# openvino-genai 2026.4 knows the names of kohya-ss and those without a prefix; what it does not
# know it leaves out. Diffusers and PEFT write these:
RENAMES = (
    (re.compile(r"^base_model\.model\."), ""),
    (re.compile(r"^unet\."), ""),
    (re.compile(r"\.processor\.to_(q|k|v)_lora\.(down|up)\."), r".to_\1.lora_\2."),
    (re.compile(r"\.processor\.to_out_lora\.(down|up)\."), r".to_out.0.lora_\1."),
    (re.compile(r"\.lora\.(down|up)\."), r".lora_\1."),
    (re.compile(r"\.lora_(A|B)\.default\."), r".lora_\1."),
)
TEXT_ENCODER = re.compile(
    r"^text_encoder(?P<number>_2)?\.(?P<layer>.+)(?P<part>\.lora_\w+\.weight)$"
)


def check_lora_file(path: Path) -> None:
    """Read the names and shapes. Raises ModelLoadError if they are no LoRA adapter's."""
    tensors = _read_header(path)[0]
    ranks: dict[str, dict[bool, int]] = {}
    for name, tensor in tensors.items():
        found = PARTS.fullmatch(name)
        shape = tensor.get("shape") if isinstance(tensor, dict) else None
        if found is None or not isinstance(shape, list) or len(shape) < 2:
            continue
        is_second = found["part"].replace(".default", "").endswith(SECOND)
        ranks.setdefault(found["layer"], {})[is_second] = shape[1 if is_second else 0]
    if not ranks:
        some = ", ".join(list(tensors)[:3]) or "none"
        raise ModelLoadError(f"{path}: it is no LoRA adapter; it has the tensors {some}")
    for layer, rank in ranks.items():
        if len(rank) != 2:
            missing = "first" if True in rank else "second"
            raise ModelLoadError(f"{path}: {layer} lacks the {missing} of its two matrices")
        if rank[False] != rank[True]:
            raise ModelLoadError(
                f"{path}: {layer} has matrices of the ranks {rank[False]} and {rank[True]}; "
                "both must have the same"
            )


def read_lora_file(path: Path, class_name: str) -> npt.NDArray[np.uint8]:
    """The file's bytes, with the names of its tensors as openvino-genai knows them.

    `class_name` is that of the pipeline. Raises ModelLoadError.
    """
    tensors, metadata, start = _read_header(path)
    header: dict[str, Any] = {
        _known_name(name, class_name): tensor for name, tensor in tensors.items()
    }
    if metadata is not None:
        header["__metadata__"] = metadata
    text = json.dumps(header).encode()
    # Tensors begin at a multiple of 8 bytes.
    text += b" " * (-len(text) % 8)
    try:
        content = path.read_bytes()[start:]
    except OSError as error:
        raise ModelLoadError(f"{path}: {error.strerror}") from error
    return np.frombuffer(len(text).to_bytes(8, "little") + text + content, np.uint8)


def _known_name(name: str, class_name: str) -> str:
    for pattern, replacement in RENAMES:
        name = pattern.sub(replacement, name)
    found = TEXT_ENCODER.match(name)
    if found is None:
        return name
    # Only of Stable Diffusion XL are the encoders numbered from 1.
    first = "1" if "XL" in class_name else ""
    number = "2" if found["number"] else first
    return f"lora_te{number}_{found['layer'].replace('.', '_')}{found['part']}"


def _read_header(path: Path) -> tuple[Mapping[str, Any], Any, int]:
    """The description of each tensor, the metadata, and where the tensors begin."""
    try:
        return read_header(path)
    except OSError as error:
        raise ModelLoadError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ModelLoadError(f"{path}: it {error}") from error
