"""From a model folder to a compiled PagedAttention model."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import openvino as ov
from openvino._offline_transformations import paged_attention_transformation

from server.engine.config import PluginValue
from server.engine.kv.kv_cache import CacheInput, block_size_of, cache_inputs
from server.engine.model.int8_head import quantize_rows
from server.engine.model.model_files import MODEL_FILE
from server.engine.model.output_head import ModelOutput, split_model
from server.engine.model.single_thread import with_safe_precision
from server.engine.model.step_inputs import SAMPLED_ROWS_INPUT
from server.engine.system.file_lease import FileLease
from server.errors import ModelLoadError

logger = logging.getLogger(__name__)

KNOWN_INPUTS = frozenset(
    {
        "input_ids",
        "position_ids",
        "past_lens",
        "subsequence_begins",
        "block_indices",
        "block_indices_begins",
        "max_context_len",
        SAMPLED_ROWS_INPUT,
    }
)

LEAST_SPARSITY = 0.5
"""The part of zeros from which on reading a matrix of int8 weights compressed is faster.

The CPU plugin counts them, and compresses what int8 activations are multiplied by. At 80% of zeros
decoding takes 0.85 to 0.9 of the time, at 50% 0.97 to 1.01, at 30% 1.02 to 1.06, by
demos/benchmark/sparse_weights.py. plugin_config may state another value.
"""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model compiled in two parts, its layers and its head, and what their ports say."""

    layers: ov.CompiledModel
    head: ov.CompiledModel
    kv_inputs: tuple[CacheInput, ...]
    block_size: int
    output: ModelOutput
    has_position_ids: bool
    device: str
    device_memory_bytes: int
    weights_lease: FileLease | None = None


def load_model(
    models_path: Path, device: str, plugin_config: Mapping[str, PluginValue]
) -> LoadedModel:
    """Read the stateful IR, turn it into its PagedAttention form, and compile it.

    Raises ModelLoadError for a missing or corrupt file, a model that is not a stateful language
    model, an unknown device, or a property that the device refuses.
    """
    core = ov.Core()
    check_files(models_path)
    lease = None if "ENABLE_MMAP" in plugin_config else _lease_weights(models_path)
    model = _read(core, models_path, plugin_config.get("ENABLE_MMAP", lease is not None))
    device = resolve_device(device)
    _transform(model, models_path)
    parts = split_model(model, models_path / MODEL_FILE)
    plugin_config = with_safe_precision(core, device, plugin_config)
    if device.startswith("CPU"):
        core.set_property("CPU", {"CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE": LEAST_SPARSITY})
    layers = _compile(core, parts.layers, device, plugin_config, models_path)
    if _has_row_wise_quantization(layers, device) and quantize_rows(parts.head):
        # The product is int8 all the same; in bf16 it would be rounded to 8 bits.
        plugin_config = {**plugin_config, "INFERENCE_PRECISION_HINT": "f32"}
    head = _compile(core, parts.head, device, plugin_config, models_path)
    inputs = cache_inputs(layers)
    return LoadedModel(
        layers=layers,
        head=head,
        kv_inputs=inputs,
        block_size=block_size_of(inputs, device),
        output=parts.output,
        has_position_ids=any("position_ids" in port.get_names() for port in layers.inputs),
        device=device,
        device_memory_bytes=_device_memory_bytes(core, device),
        weights_lease=lease,
    )


def _device_memory_bytes(core: ov.Core, device: str) -> int:
    """Memory of a GPU; 0 for the CPU, whose free memory the operating system knows better."""
    if device.startswith("CPU"):
        return 0
    try:
        return int(core.get_property(device, "GPU_DEVICE_TOTAL_MEM_SIZE"))
    except RuntimeError as error:
        raise ModelLoadError(
            f"device {device!r} does not tell its memory, which sizes the KV cache; name one "
            f"device of {', '.join(core.available_devices)}: {_summary(error)}"
        ) from error


def check_files(models_path: Path) -> None:
    """Raise ModelLoadError where a file of the model is missing."""
    xml = models_path / MODEL_FILE
    for path in (xml, xml.with_suffix(".bin")):
        if not path.is_file():
            raise ModelLoadError(
                f"{path} not found; a model folder holds {MODEL_FILE} and its .bin, "
                "as export_model writes them"
            )


def _lease_weights(models_path: Path) -> FileLease | None:
    """What makes it safe to map the weights; None where that cannot be had."""
    path = (models_path / MODEL_FILE).with_suffix(".bin")
    try:
        return FileLease(path)
    except OSError as error:
        logger.info("%s is read into memory, as there is no lease on it (%s)", path, error)
        return None


def _read(core: ov.Core, models_path: Path, is_mapped: PluginValue) -> ov.Model:
    xml = models_path / MODEL_FILE
    try:
        core.set_property({"ENABLE_MMAP": is_mapped})
        return core.read_model(xml)
    except RuntimeError as error:
        raise ModelLoadError(f"{xml}: OpenVINO cannot read it: {_summary(error)}") from error


def resolve_device(device: str) -> str:
    """The device itself; for the empty string a GPU if there is one, else the CPU."""
    if device:
        return device
    return "GPU" if any(name.startswith("GPU") for name in ov.Core().available_devices) else "CPU"


def _transform(model: ov.Model, models_path: Path) -> None:
    where = models_path / MODEL_FILE
    try:
        paged_attention_transformation(model)
    except RuntimeError as error:
        raise ModelLoadError(
            f"{where}: not a stateful language model with scaled-dot-product attention: "
            f"{_summary(error)}"
        ) from error
    names = {port.get_any_name() for port in model.inputs}
    unknown = sorted(
        n for n in names - KNOWN_INPUTS if not n.startswith(("key_cache.", "value_cache."))
    )
    if unknown:
        raise ModelLoadError(
            f"{where}: needs the inputs {', '.join(unknown)}, which text generation has not; "
            f"known are {', '.join(sorted(KNOWN_INPUTS - {SAMPLED_ROWS_INPUT}))} and the KV caches"
        )


def _compile(
    core: ov.Core,
    model: ov.Model,
    device: str,
    plugin_config: Mapping[str, PluginValue],
    models_path: Path,
) -> ov.CompiledModel:
    properties = dict(plugin_config)
    if device.startswith("CPU") and properties.pop("CACHE_DIR", ""):
        # It would be written at every start and never be read: the head sizes that the plugin
        # needs are run-time information of the nodes, which is not stored.
        logger.info("%s: no CACHE_DIR; OpenVINO cannot keep such a model for the CPU", models_path)
    try:
        return core.compile_model(model, device, properties)
    except RuntimeError as error:
        raise ModelLoadError(
            f"{models_path}: OpenVINO cannot compile it for device {device!r} with plugin_config "
            f"{json.dumps(dict(plugin_config))}: {_summary(error)}; "
            f"available devices: {', '.join(core.available_devices)}"
        ) from error


def _has_row_wise_quantization(layers: ov.CompiledModel, device: str) -> bool:
    """Whether the settings ask for int8 rows, and the plugin itself has them not everywhere."""
    if not device.startswith("CPU"):
        return False
    hidden_size = layers.output(0).get_partial_shape()[-1].get_length()
    group_size = int(layers.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE"))
    is_bf16 = layers.get_property("INFERENCE_PRECISION_HINT") == ov.Type.bf16
    return bool(is_bf16 and group_size >= hidden_size)


def _summary(error: Exception) -> str:
    """The last telling line of an OpenVINO error, which otherwise starts with source positions."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (telling or lines or [type(error).__name__])[-1]
