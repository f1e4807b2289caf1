"""Teaches optimum-intel text encoders that it does not know, or exports wrongly."""

from typing import Any

import torch
from optimum.exporters.openvino.base import OpenVINOConfig
from optimum.exporters.openvino.model_configs import (
    TextEncoderOpenVINOConfig,
    register_in_tasks_manager,
)
from optimum.exporters.openvino.model_patcher import ModelPatcher
from optimum.exporters.openvino.utils import ONNX_SUPPORTED_ARCHITECTURES
from optimum.exporters.tasks import TasksManager
from optimum.utils import NormalizedTextConfig

__all__ = ["register_encoders"]

TASKS = ("feature-extraction", "text-classification")
MASKED = torch.finfo(torch.float16).min


class EncoderConfig(TextEncoderOpenVINOConfig):  # type: ignore[misc]  # without types
    """Any encoder: what it takes besides, such as token types, has its defaults."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        axes = {0: "batch_size", 1: "sequence_length"}
        return {"input_ids": axes, "attention_mask": axes}


class BidirectionalPatcher(ModelPatcher):  # type: ignore[misc]  # without types
    """Makes the masks of a Gemma 3 without causality; optimum's own are causal."""

    def __init__(self, config: OpenVINOConfig, model: Any, model_kwargs: Any = None) -> None:
        super().__init__(config, model, model_kwargs)
        usual: Any = self.patched_forward  # type: ignore[has-type]
        window = model.config.sliding_window

        def forward(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return usual(input_ids=input_ids, attention_mask=_masks(attention_mask, window))

        self.patched_forward = forward


def _masks(attention_mask: torch.Tensor, window: int) -> dict[str, torch.Tensor]:
    """f32[batch, 1, tokens, tokens] for each kind of layer: 0 where a token sees another."""
    positions = torch.cumsum(torch.ones_like(attention_mask), 1)
    is_near = (positions[:, :, None] - positions[:, None, :]).abs() < window
    is_token = attention_mask.bool()[:, None, :].expand_as(is_near)
    return {
        name: torch.where(is_seen, 0.0, MASKED)[:, None]
        for name, is_seen in (
            ("full_attention", is_token),
            ("sliding_attention", is_token & is_near),
        )
    }


class Gemma3EncoderConfig(EncoderConfig):
    """EmbeddingGemma: every token sees those after it too."""

    _MODEL_PATCHER = BidirectionalPatcher


# Optimum-intel's exporter for these expects a model with an output head.
NEED_A_HEAD = frozenset({"mistral"})


def register_encoders(model_type: str, *, is_bidirectional: bool) -> None:
    """Let optimum-intel export this architecture as an encoder, if it does not by itself."""
    if is_bidirectional and model_type == "gemma3_text":
        _register(model_type, Gemma3EncoderConfig)
    elif model_type in NEED_A_HEAD or model_type not in TasksManager._SUPPORTED_MODEL_TYPE:
        _register(model_type, EncoderConfig)


def _register(model_type: str, config: type) -> None:
    # optimum-intel refuses what an older exporter of its makers supports.
    ONNX_SUPPORTED_ARCHITECTURES.discard(model_type)
    register_in_tasks_manager(model_type, *TASKS, library_name="transformers")(config)
