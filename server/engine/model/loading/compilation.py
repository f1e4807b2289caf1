"""Compiles a model, or its two parts, for a device."""

import json
from collections.abc import Mapping
from pathlib import Path

import openvino as ov

from server.engine.config import PluginValue
from server.engine.model.device import Device
from server.engine.model.int8_head import quantize_rows
from server.engine.model.output_head import SplitModel
from server.errors import ModelLoadError
from server.host.openvino_core import shared_core
from server.host.openvino_errors import error_summary

__all__ = ["compile_for", "compile_parts"]


def compile_parts(
    parts: SplitModel,
    device: Device,
    plugin_config: Mapping[str, PluginValue],
    models_path: Path,
) -> tuple[ov.CompiledModel, ov.CompiledModel | None]:
    """The compiled layers and, where there is one, head. Raises ModelLoadError."""
    properties = device.compile_properties(shared_core(), plugin_config)
    layers = compile_for(parts.layers, device, properties, models_path)
    head = None
    if parts.head is not None:
        if device.quantizes_head(layers) and quantize_rows(parts.head):
            # The matrix product is int8 all the same; bf16 would round the logits to 8 bits.
            properties = {**properties, "INFERENCE_PRECISION_HINT": "f32"}
        head = compile_for(parts.head, device, properties, models_path)
    # Fails for a device name that stands for several devices, such as AUTO.
    device.free_bytes()
    return layers, head


def compile_for(
    model: ov.Model,
    device: Device,
    properties: Mapping[str, PluginValue],
    models_path: Path,
) -> ov.CompiledModel:
    """Compile with these properties and the device's own. Raises ModelLoadError."""
    core = shared_core()
    try:
        return core.compile_model(model, device.name, {**device.default_properties, **properties})
    except RuntimeError as error:
        raise ModelLoadError(
            f"{models_path}: OpenVINO cannot compile it for device {device.name!r} with "
            f"plugin_config {json.dumps(dict(properties))}: {error_summary(error)}; "
            f"available devices: {', '.join(core.available_devices)}"
        ) from error
