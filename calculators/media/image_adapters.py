"""The LoRA adapters of an image pipeline, loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openvino as ov
import openvino_genai

from calculators.media.adapter_weights import AdapterWeights
from calculators.media.image_options import AdapterMode, ImageGenCalculatorOptions
from calculators.media.lora_file import read_lora_file
from server.errors import ModelLoadError
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
        self._weights = AdapterWeights(options)
        # An adapter reads from its tensor as long as it lives, but does not keep it.
        self._tensors = {
            alias: ov.Tensor(read_lora_file(paths[alias], class_name))
            for alias in self._weights.alphas
        }
        self._adapters = {alias: _load(paths[alias], t) for alias, t in self._tensors.items()}

    def load_properties(self) -> dict[str, Any]:
        """The properties with which the pipeline is compiled."""
        if not self._adapters:
            return {}
        weighted = [(self._adapters[alias], alpha) for alias, alpha in self._weights.alphas.items()]
        return {"adapters": openvino_genai.AdapterConfig(weighted, MODES[self._weights.mode])}

    def arguments(self, model: str, lora_alphas: Mapping[str, float] | None) -> dict[str, Any]:
        """The arguments of `generate` for a request to `model`. Raises InvalidRequestError."""
        alphas = self._weights.of(model, lora_alphas)
        if alphas is None:
            return {}
        weighted = [(self._adapters[alias], alpha) for alias, alpha in alphas.items()]
        return {"adapters": openvino_genai.AdapterConfig(weighted)}


def _load(path: Path, tensor: ov.Tensor) -> Any:
    try:
        return openvino_genai.Adapter(tensor)
    except RuntimeError as error:
        raise ModelLoadError(f"{path}: {error_summary(error)}") from error
