"""Which LoRA adapters a request gets, and with which weights."""

from collections.abc import Mapping

from calculators.media.image_options import AdapterMode, ImageGenCalculatorOptions
from server.errors import InvalidRequestError, did_you_mean

__all__ = ["AdapterWeights"]


class AdapterWeights:
    """The weights of the adapters by alias."""

    def __init__(self, options: ImageGenCalculatorOptions) -> None:
        self.alphas = {adapter.alias: adapter.alpha for adapter in options.lora_adapters}
        self._composites = {
            composite.alias: {
                component.adapter_alias: (
                    self.alphas[component.adapter_alias]
                    if component.alpha is None
                    else component.alpha
                )
                for component in composite.components
            }
            for composite in options.composite_lora_adapters
        }
        modes = {adapter.mode for adapter in options.lora_adapters}
        self.mode = modes.pop() if modes else AdapterMode.DYNAMIC

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that stands for an adapter or several."""
        return (*self.alphas, *self._composites)

    def of(self, model: str, changed: Mapping[str, float] | None) -> Mapping[str, float] | None:
        """The weights for a request to `model`, with those that it changes.

        None if requests cannot choose. Raises InvalidRequestError.
        """
        if self.mode is not AdapterMode.DYNAMIC or not self.alphas:
            if changed:
                raise InvalidRequestError(
                    "lora_alphas is not supported: this model has no adapters of mode DYNAMIC",
                    "lora_alphas",
                )
            return None
        return self._changed(model, changed or {})

    def status(self) -> dict[str, object]:
        """The adapters, for operators."""
        if not self.alphas:
            return {}
        return {"adapters": list(self.names), "adapter_mode": self.mode.name}

    def _changed(self, model: str, changed: Mapping[str, float]) -> Mapping[str, float]:
        """The adapters of a model name with their weights; for the model itself all are 0."""
        if model in self._composites:
            alphas, possible = self._composites[model], set(self._composites[model])
        elif model in self.alphas:
            alphas, possible = {model: self.alphas[model]}, {model}
        else:
            # Not none at all: after such a run openvino-genai 2026.4 makes black images.
            alphas, possible = dict.fromkeys(self.alphas, 0.0), set(self.alphas)
        for alias in changed:
            if alias not in possible:
                found = f"lora_alphas names {alias[:100]!r}, which is no adapter of {model[:100]!r}"
                hint = did_you_mean(alias, possible) or f"; possible: {', '.join(sorted(possible))}"
                raise InvalidRequestError(found + hint, "lora_alphas")
        return {**alphas, **changed}
