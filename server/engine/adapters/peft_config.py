"""What adapter_config.json says, as PEFT writes it: ranks and scales, and what cannot be served.

https://huggingface.co/docs/peft/package_reference/lora
"""

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import ModelLoadError, describe_value
from server.host.regular_files import open_regular

__all__ = ["CONFIG_FILE", "PeftConfig"]

CONFIG_FILE = "adapter_config.json"
MAX_CONFIG_BYTES = 16 * 2**20

# What would have to be computed besides the two products of each layer.
REFUSED = {
    "use_dora": "DoRA also changes the lengths of the weights' columns",
    "lora_bias": "its second matrices have biases",
    "modules_to_save": "whole layers replace those of the model",
    "trainable_token_indices": "it has embeddings of its own",
    "layer_replication": "it changes the number of layers",
    "alora_invocation_tokens": "an activated LoRA begins in the middle of a prompt",
    "target_parameters": "it changes weights that are no linear layers",
    "use_qalora": "QALoRA pools the inputs of a layer",
    "arrow_config": "it routes between adapters",
    "use_bdlora": "its matrices are block-diagonal",
    "megatron_config": "its layers are those of Megatron",
}
# These change the weights of the model itself before the training begins.
REFUSED_INITS = ("pissa", "olora", "loftq", "corda", "lora_ga")


@dataclass(frozen=True, slots=True)
class PeftConfig:
    """The ranks and factors of the modules; patterns have those that differ from the others."""

    path: Path
    base_model: str
    rank: int
    alpha: float
    is_rank_stabilized: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> "PeftConfig":
        """Read the file. Raises ModelLoadError, also for an adapter that cannot be served."""
        values = _read_object(path)
        _refuse(path, values)
        return cls(
            path,
            str(values.get("base_model_name_or_path") or ""),
            _positive_int(path, "r", values.get("r", 8)),
            _number(path, "lora_alpha", values.get("lora_alpha", 8)),
            bool(values.get("use_rslora")),
            _pattern(path, "rank_pattern", values, _positive_int),
            _pattern(path, "alpha_pattern", values, _number),
        )

    def rank_of(self, module: str) -> int:
        """The rank of a module, by its name in the base model."""
        return self.rank_pattern.get(_find_key(self.rank_pattern, module), self.rank)

    def scale_of(self, module: str) -> float:
        """What the module's two products are multiplied by: alpha / r, with rsLoRA alpha / sqrt(r).

        (arXiv 2106.09685; rsLoRA: arXiv 2312.03732.)
        """
        alpha = self.alpha_pattern.get(_find_key(self.alpha_pattern, module), self.alpha)
        rank = self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.is_rank_stabilized else rank)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        with open_regular(path) as file:
            values = json.loads(file.read(MAX_CONFIG_BYTES))
    except FileNotFoundError as error:
        raise ModelLoadError(
            f"{path}: no such file; a LoRA adapter is a folder with {CONFIG_FILE} and "
            "adapter_model.safetensors, as PEFT saves it"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelLoadError(f"{path}: found {describe_value(values)}, expected a JSON object")
    return values


def _refuse(path: Path, values: Mapping[str, Any]) -> None:
    kind = values.get("peft_type", "LORA")
    if kind != "LORA":
        raise ModelLoadError(f"{path}: peft_type is {kind!r}; only LORA is supported")
    if values.get("bias", "none") != "none":
        raise ModelLoadError(
            f"{path}: bias is {values['bias']!r}; only none is supported: it would replace the "
            "biases of the model"
        )
    for key, reason in REFUSED.items():
        if values.get(key):
            raise ModelLoadError(f"{path}: {key} is not supported: {reason}")
    start = values.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(REFUSED_INITS):
        raise ModelLoadError(
            f"{path}: init_lora_weights is {start!r}, which changes the weights of the model; "
            "convert the adapter to plain LoRA (path_initial_model_for_weight_conversion of PEFT)"
        )


def _pattern(path: Path, key: str, values: Mapping[str, Any], check: Any) -> dict[str, Any]:
    found = values.get(key) or {}
    if not isinstance(found, dict):
        raise ModelLoadError(f"{path}: {key} is {describe_value(found)}; it must be an object")
    for pattern in found:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ModelLoadError(f"{path}: {key} has {pattern!r}: {error}") from error
    return {pattern: check(path, f"{key}[{pattern!r}]", value) for pattern, value in found.items()}


def _find_key(patterns: Mapping[str, object], module: str) -> str:
    """The first pattern that fits the end of a name, as PEFT's get_pattern_key finds it."""
    fitting = (key for key in patterns if re.match(rf"(.*\.)?({key})$", module))
    return next(fitting, module)


def _positive_int(path: Path, key: str, value: object) -> int:
    if type(value) is not int or value < 1:
        raise ModelLoadError(
            f"{path}: {key} is {describe_value(value)}; it must be a positive integer"
        )
    return value


def _number(path: Path, key: str, value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        # An integer may be too large for a float.
        or not abs(value) <= sys.float_info.max
    ):
        raise ModelLoadError(f"{path}: {key} is {describe_value(value)}; it must be a number")
    return float(value)
