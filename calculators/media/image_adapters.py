"""The LoRA adapters of an image pipeline: which of them a request gets, and with which weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openvino as ov
import openvino_genai

from calculators.media.image_options import AdapterMode, ImageGenCalculatorOptions
from calculators.media.lora_file import read_lora_file
from server.errors import InvalidRequestError, ModelLoadError, did_you_mean
from server.host.openvino_errors import error_summary

__all__ = ["ImageAdapters"]

MODES: Mapping[AdapterMode, Any] = {
    AdapterMode.DYNAMIC: openvino_genai.AdapterConfig.Mode.MODE_DYNAMIC,
    AdapterMode.STATIC: openvino_genai.AdapterConfig.Mode.MODE_STATIC,
    AdapterMode.FUSE: openvino_genai.AdapterConfig.Mode.MODE_FUSE,
}


class ImageAdapters:
    """The adapters by alias. `paths` are their files, `class_name` is that of the pipeline.

    Raises ModelLoadError.
    """

    def __init__(
        self, options: ImageGenCalculatorOptions, paths: Mapping[str, Path], class_name: str
    ) -> None:
        self._alphas = {adapter.alias: adapter.alpha for adapter in options.lora_adapters}
        self._composites = {
            composite.alias: {
                component.adapter_alias: (
                    self._alphas[component.adapter_alias]
                    if component.alpha is None
                    else component.alpha
                )
                for component in composite.components
            }
            for composite in options.composite_lora_adapters
        }
        modes = {adapter.mode for adapter in options.lora_adapters}
        self._mode = modes.pop() if modes else AdapterMode.DYNAMIC
        # An adapter reads from its tensor as long as it lives, but does not keep it.
        self._tensors = {
            alias: ov.Tensor(read_lora_file(paths[alias], class_name)) for alias in self._alphas
        }
        self._adapters = {alias: _load(paths[alias], t) for alias, t in self._tensors.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that stands for an adapter or several."""
        return (*self._alphas, *self._composites)

    def load_properties(self) -> dict[str, Any]:
        """The properties with which the pipeline is compiled."""
        if not self._adapters:
            return {}
        weighted = [(self._adapters[alias], alpha) for alias, alpha in self._alphas.items()]
        return {"adapters": openvino_genai.AdapterConfig(weighted, MODES[self._mode])}

    def arguments(self, model: str, lora_alphas: Mapping[str, float] | None) -> dict[str, Any]:
        """The arguments of `generate` for a request to `model`. Raises InvalidRequestError."""
        if self._mode is not AdapterMode.DYNAMIC or not self._adapters:
            if lora_alphas:
                raise InvalidRequestError(
                    "lora_alphas is not supported: this model has no adapters of mode DYNAMIC",
                    "lora_alphas",
                )
            return {}
        alphas = self._alphas_of(model, lora_alphas or {})
        weighted = [(self._adapters[alias], alpha) for alias, alpha in alphas.items()]
        return {"adapters": openvino_genai.AdapterConfig(weighted)}

    def status(self) -> dict[str, object]:
        """The adapters, for operators."""
        if not self._adapters:
            return {}
        return {"adapters": list(self.names), "adapter_mode": self._mode.name}

    def _alphas_of(self, model: str, changed: Mapping[str, float]) -> Mapping[str, float]:
        """The adapters of a model name with their weights; for the model itself all are 0."""
        if model in self._composites:
            alphas, possible = self._composites[model], set(self._composites[model])
        elif model in self._alphas:
            alphas, possible = {model: self._alphas[model]}, {model}
        else:
            # Not none at all: after such a run openvino-genai 2026.4 makes black images.
            alphas, possible = dict.fromkeys(self._alphas, 0.0), set(self._alphas)
        for alias in changed:
            if alias not in possible:
                found = f"lora_alphas names {alias[:100]!r}, which is no adapter of {model[:100]!r}"
                hint = did_you_mean(alias, possible) or f"; possible: {', '.join(sorted(possible))}"
                raise InvalidRequestError(found + hint, "lora_alphas")
        return {**alphas, **changed}


def _load(path: Path, tensor: ov.Tensor) -> Any:
    try:
        return openvino_genai.Adapter(tensor)
    except RuntimeError as error:
        raise ModelLoadError(f"{path}: {error_summary(error)}") from error
