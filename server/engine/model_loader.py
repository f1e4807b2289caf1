"""From a model folder to a compiled PagedAttention model."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import openvino as ov
from openvino import opset13 as ops
from openvino._offline_transformations import paged_attention_transformation

from server.engine.config import PluginValue
from server.engine.kv_cache import CacheInput, block_size_of, cache_inputs
from server.errors import ModelLoadError

logger = logging.getLogger(__name__)

MODEL_FILE = "openvino_model.xml"
SAMPLED_ROWS_INPUT = "sampled_tokens_indices"
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
# What may stand between the last MatMul and the logits: bias, scaling, soft-capping.
LOGIT_OPS = frozenset({"Add", "Convert", "Divide", "Multiply", "Reshape", "Tanh", "Transpose"})


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A compiled model and what its ports say. `vocab_size` is the width of the logits."""

    compiled: ov.CompiledModel
    kv_inputs: tuple[CacheInput, ...]
    block_size: int
    vocab_size: int
    has_position_ids: bool
    device: str
    device_memory_bytes: int


def load_model(
    models_path: Path, device: str, plugin_config: Mapping[str, PluginValue]
) -> LoadedModel:
    """Read the stateful IR, turn it into its PagedAttention form, and compile it.

    Raises ModelLoadError for a missing or corrupt file, a model that is not a stateful language
    model, an unknown device, or a property that the device refuses.
    """
    core = ov.Core()
    model = _read(core, models_path)
    device = device or _default_device(core)
    _transform(model, models_path)
    vocab_size = gather_sampled_rows(model, models_path)
    compiled = _compile(core, model, device, plugin_config, models_path)
    inputs = cache_inputs(compiled)
    return LoadedModel(
        compiled=compiled,
        kv_inputs=inputs,
        block_size=block_size_of(inputs, device),
        vocab_size=vocab_size,
        has_position_ids=any("position_ids" in port.get_names() for port in compiled.inputs),
        device=device,
        device_memory_bytes=_device_memory_bytes(core, device),
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


def _read(core: ov.Core, models_path: Path) -> ov.Model:
    xml = models_path / MODEL_FILE
    for path in (xml, xml.with_suffix(".bin")):
        if not path.is_file():
            raise ModelLoadError(
                f"{path} not found; a model folder holds {MODEL_FILE} and its .bin, "
                "as export_model writes them"
            )
    try:
        return core.read_model(xml)
    except RuntimeError as error:
        raise ModelLoadError(f"{xml}: OpenVINO cannot read it: {_summary(error)}") from error


def _default_device(core: ov.Core) -> str:
    return "GPU" if any(name.startswith("GPU") for name in core.available_devices) else "CPU"


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


def gather_sampled_rows(model: ov.Model, models_path: Path) -> int:
    """Let the last MatMul see only the rows that are sampled; returns the vocabulary size.

    Adds the i64 input `sampled_tokens_indices` with the row numbers. A step of a long prompt would
    otherwise compute, and copy, logits of every prompt token.
    """
    logits = model.output("logits") if _has_logits(model) else model.outputs[0]
    vocab = logits.get_partial_shape()[-1]
    node = logits.get_node().input_value(0).get_node()
    while node.get_type_name() in LOGIT_OPS:
        node = node.input_value(0).get_node()
    if node.get_type_name() != "MatMul" or vocab.is_dynamic:
        raise ModelLoadError(
            f"{models_path / MODEL_FILE}: its output does not come from a matrix product over a "
            f"vocabulary of fixed size; found {node.get_type_name()} and {vocab}"
        )
    rows = ops.parameter([-1], dtype=ov.Type.i64, name=SAMPLED_ROWS_INPUT)
    rows.output(0).get_tensor().set_names({SAMPLED_ROWS_INPUT})
    gathered = ops.gather(node.input_value(0), rows, ops.constant(0, dtype=ov.Type.i64))
    node.input(0).replace_source_output(gathered.output(0))
    model.add_parameters([rows])
    model.validate_nodes_and_infer_types()
    return int(vocab.get_length())


def _has_logits(model: ov.Model) -> bool:
    return any("logits" in port.get_names() for port in model.outputs)


def _compile(
    core: ov.Core,
    model: ov.Model,
    device: str,
    plugin_config: Mapping[str, PluginValue],
    models_path: Path,
) -> ov.CompiledModel:
    try:
        return core.compile_model(model, device, dict(plugin_config))
    except RuntimeError as error:
        raise ModelLoadError(
            f"{models_path}: OpenVINO cannot compile it for device {device!r} with plugin_config "
            f"{json.dumps(dict(plugin_config))}: {_summary(error)}; "
            f"available devices: {', '.join(core.available_devices)}"
        ) from error


def _summary(error: Exception) -> str:
    """The last telling line of an OpenVINO error, which otherwise starts with source positions."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (telling or lines or [type(error).__name__])[-1]
