"""Teaches optimum-intel architectures that it does not know, then runs as optimum-cli.

Their attention and caches are like those of others that it knows. tests/model_zoo compares each
with transformers.
"""

import argparse
import sys
import types
from typing import Any

import torch
import transformers
from optimum.commands.optimum_cli import main
from optimum.exporters.openvino.model_configs import (
    Gemma2OpenVINOConfig,
    GraniteMoEOpenVINOConfig,
    LlamaOpenVINOConfig,
    register_in_tasks_manager,
)
from optimum.exporters.openvino.model_patcher import OVDecoderModelPatcher
from optimum.exporters.openvino.utils import ONNX_SUPPORTED_ARCHITECTURES

from export_models.conversion.encoder_architectures import TASKS as ENCODER_TASKS
from export_models.conversion.encoder_architectures import register_encoders
from export_models.conversion.nomic_bert import register_nomic_bert

__all__ = ["register"]

TASKS = ("text-generation", "text-generation-with-past")


class RoutedExpertsPatcher(OVDecoderModelPatcher):  # type: ignore[misc]  # without types
    """Runs all experts: the trace would leave out those that its example chose for no token."""

    def __enter__(self) -> None:
        super().__enter__()
        for module in self._model.modules():
            if hasattr(module, "moe") and hasattr(module, "experts"):
                module.moe = types.MethodType(_run_experts, module)

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for module in self._model.modules():
            if "moe" in vars(module):
                del module.moe


class RoutedExpertsConfig(LlamaOpenVINOConfig):  # type: ignore[misc]  # without types
    """GLM-4.5 and dots.llm1."""

    _MODEL_PATCHER = RoutedExpertsPatcher


CONFIGS = {
    "apertus": LlamaOpenVINOConfig,
    "dots1": RoutedExpertsConfig,
    "ernie4_5": LlamaOpenVINOConfig,
    "flex_olmo": LlamaOpenVINOConfig,
    "glm4_moe": RoutedExpertsConfig,
    "granitemoeshared": GraniteMoEOpenVINOConfig,
    "helium": LlamaOpenVINOConfig,
    "ministral": LlamaOpenVINOConfig,
    "nemotron": LlamaOpenVINOConfig,
    "olmo3": LlamaOpenVINOConfig,
    "olmoe": LlamaOpenVINOConfig,
    "seed_oss": LlamaOpenVINOConfig,
    "vaultgemma": Gemma2OpenVINOConfig,
}


def register() -> None:
    """Let optimum-intel export all these as text generators."""
    # It refuses some that it exported before, in another way.
    ONNX_SUPPORTED_ARCHITECTURES.difference_update(CONFIGS)
    for name, config in CONFIGS.items():
        register_in_tasks_manager(name, *TASKS, library_name="transformers")(config)


def _run_experts(
    self: Any, hidden: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """transformers, modeling_glm4_moe.py, Glm4MoeMoE.moe, without its condition.

    f32[tokens, size] from the `indices` i64[tokens, k] of experts and their `weights` f32.
    """
    result = torch.zeros_like(hidden, dtype=weights.dtype)
    masks = torch.nn.functional.one_hot(indices, num_classes=len(self.experts)).permute(2, 0, 1)
    for expert, mask in zip(self.experts, masks, strict=True):
        tokens, places = torch.where(mask)
        output = expert(hidden[tokens]) * weights[tokens, places, None]
        result.index_add_(0, tokens, output.to(result.dtype))
    return result.type(hidden.dtype)


def _register_encoder(arguments: list[str]) -> None:
    """Look at the source where the command line is one for an encoder."""
    parser = argparse.ArgumentParser(prog="optimum-cli", add_help=False, allow_abbrev=False)
    parser.add_argument("--model")
    parser.add_argument("--task")
    parser.add_argument("--trust-remote-code", action="store_true")
    values, _ = parser.parse_known_args(arguments)
    if values.task in ENCODER_TASKS:
        register_nomic_bert()
        auto: Any = transformers.AutoConfig
        config = auto.from_pretrained(values.model, trust_remote_code=values.trust_remote_code)
        is_bidirectional = bool(getattr(config, "use_bidirectional_attention", False))
        register_encoders(config.model_type, is_bidirectional=is_bidirectional)


if __name__ == "__main__":
    register()
    _register_encoder(sys.argv)
    main()
