"""Reads a model folder and compiles its model, in PagedAttention form where that is possible."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov
from openvino._offline_transformations import paged_attention_transformation

from server.engine.config import PluginValue
from server.engine.kv.kv_cache import (
    KV_TABLES,
    STATE_TABLES,
    CacheInput,
    cache_inputs,
    state_tables,
)
from server.engine.model.attention import (
    AttentionForm,
    NotExpressibleError,
    complete_attention,
)
from server.engine.model.device import Device, find_device
from server.engine.model.loading.compilation import compile_parts
from server.engine.model.loading.files import check_files, lease_weights, read_graph
from server.engine.model.model_info import (
    config_layers,
    longrope_switch,
    read_config,
    read_model_info,
)
from server.engine.model.output_head import ModelOutput, split_model
from server.engine.model.state_inputs import STATE_INPUTS
from server.engine.model.stateful.encoder import Encoder, load_encoder, read_prefix
from server.engine.model.stateful.state_form import StateForm, read_state_form
from server.engine.model.verification_record import describe_verification
from server.engine.system.file_lease import FileLease
from server.errors import ModelLoadError
from server.host.model_files import (
    ENCODER_FILE,
    MODEL_FILE,
    has_encoder,
    text_model_file,
)
from server.host.openvino_core import find_device_problem
from server.host.openvino_errors import error_summary

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
        *STATE_INPUTS,
    }
)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model compiled in two parts, layers and output head, and what the engine needs to know.

    `state_tables` are those of a PagedAttention model with convolutions or linear attention.
    `states` is None for a PagedAttention model. Another one runs as it was exported, with states
    instead of `kv_inputs`; `not_paged` says why. With an `encoder`, the rest is the decoder.
    """

    layers: ov.CompiledModel
    head: ov.CompiledModel
    kv_inputs: tuple[CacheInput, ...]
    block_size: int
    output: ModelOutput
    has_position_ids: bool
    device: Device
    attention: AttentionForm
    state_tables: tuple[CacheInput, ...] = ()
    weights_lease: FileLease | None = None
    states: StateForm | None = None
    not_paged: str | None = None
    encoder: Encoder | None = None


def load_model(
    models_path: Path, device: str, plugin_config: Mapping[str, PluginValue]
) -> LoadedModel:
    """Read the stateful IR, transform it to PagedAttention form if it has one, and compile it.

    Raises ModelLoadError for a missing or corrupt file, a model that is not a stateful language
    model, an unknown device, or a property that the device refuses.
    """
    check_files(models_path)
    lease = None if "ENABLE_MMAP" in plugin_config else lease_weights(models_path)
    try:
        return _load(models_path, find_device(device), plugin_config, lease)
    except BaseException:
        # A caller that keeps the error would keep this frame, and with it the lease and its file.
        if lease is not None:
            lease.close()
        raise


def check_loadable(
    models_path: Path, device: str, plugin_config: Mapping[str, PluginValue]
) -> None:
    """Do all of `load_model` that needs no compilation. Raises ModelLoadError.

    Whether memory suffices and the device takes the properties is not checked.
    """
    check_files(models_path)
    if (problem := find_device_problem(device)) is not None:
        raise ModelLoadError(problem)
    # Fails for a device name that stands for several devices.
    find_device(device).free_bytes()
    read_model_info(models_path)
    describe_verification(models_path)
    model, attention, reason = _read_form(models_path, plugin_config.get("ENABLE_MMAP", True))
    if attention is not None:
        split_model(model, models_path / MODEL_FILE)
        return
    _read_states(model, models_path, reason)
    split_model(model, text_model_file(models_path), rows_axis=1)
    if has_encoder(models_path):
        read_graph(models_path / ENCODER_FILE, is_mapped=True)
        read_prefix(models_path)


def _read_form(
    models_path: Path, is_mapped: PluginValue
) -> tuple[ov.Model, AttentionForm | None, str]:
    """A model in its PagedAttention form; or as it was exported, and why it has no such form."""
    xml = text_model_file(models_path)
    model = read_graph(xml, is_mapped)
    if has_encoder(models_path):
        return model, None, "its prompts go to an encoder"
    try:
        return model, _transform(model, models_path), ""
    except NotExpressibleError as error:
        reason = str(error)
    # The transformation has changed the model. Outside of the except clause nothing holds it.
    del model
    return read_graph(xml, is_mapped), None, reason


def _load(
    models_path: Path,
    device: Device,
    plugin_config: Mapping[str, PluginValue],
    lease: FileLease | None,
) -> LoadedModel:
    is_mapped = plugin_config.get("ENABLE_MMAP", lease is not None)
    model, attention, reason = _read_form(models_path, is_mapped)
    if attention is None:
        return _load_stateful(model, models_path, device, plugin_config, lease, reason)
    return _load_paged(model, models_path, device, plugin_config, lease, attention)


def _load_paged(
    model: ov.Model,
    models_path: Path,
    device: Device,
    plugin_config: Mapping[str, PluginValue],
    lease: FileLease | None,
    attention: AttentionForm,
) -> LoadedModel:
    parts = split_model(model, models_path / MODEL_FILE)
    layers, head = compile_parts(parts, device, plugin_config, models_path)
    inputs = cache_inputs(layers)
    block_size = device.block_size(inputs)
    if attention.chunk_size is not None and attention.chunk_size % block_size:
        raise ModelLoadError(
            f"{models_path}: attention_chunk_size is {attention.chunk_size}; on {device.name} it "
            f"must be a multiple of {block_size}, the tokens of a KV block"
        )
    return LoadedModel(
        layers=layers,
        head=head,
        kv_inputs=inputs,
        block_size=block_size,
        output=parts.output,
        has_position_ids=any("position_ids" in port.get_names() for port in layers.inputs),
        device=device,
        attention=attention,
        state_tables=state_tables(layers),
        weights_lease=lease,
    )


def _load_stateful(
    model: ov.Model,
    models_path: Path,
    device: Device,
    plugin_config: Mapping[str, PluginValue],
    lease: FileLease | None,
    reason: str,
) -> LoadedModel:
    states, config = _read_states(model, models_path, reason)
    parts = split_model(model, text_model_file(models_path), rows_axis=1)
    if states.takes_single_tokens or has_encoder(models_path):
        # In bf16 a state would lose digits with every token, and the decoder behind an encoder
        # gives other answers to the same prompt now and then (OpenVINO 2026.4).
        plugin_config = {"INFERENCE_PRECISION_HINT": "f32", **plugin_config}
    layers, head = compile_parts(parts, device, plugin_config, models_path)
    return LoadedModel(
        layers=layers,
        head=head,
        kv_inputs=(),
        block_size=0,
        output=parts.output,
        has_position_ids="position_ids" in states.inputs,
        device=device,
        attention=AttentionForm(long_after=longrope_switch(config)),
        weights_lease=lease,
        states=states,
        not_paged=reason,
        encoder=load_encoder(models_path, device, plugin_config)
        if has_encoder(models_path)
        else None,
    )


def _read_states(
    model: ov.Model, models_path: Path, reason: str
) -> tuple[StateForm, Mapping[str, Any]]:
    """The states of a model that has no paged form for a reason, and its configuration."""
    config = config_layers(read_config(models_path / "config.json"))[-1]
    try:
        return read_state_form(model, config, has_encoder(models_path)), config
    except ModelLoadError as error:
        raise ModelLoadError(f"{text_model_file(models_path)}: {error} ({reason})") from error


def _transform(model: ov.Model, models_path: Path) -> AttentionForm:
    """Bring a model into its PagedAttention form. Raises NotExpressibleError if it has none."""
    try:
        paged_attention_transformation(model)
    except RuntimeError as error:
        reason = f"OpenVINO cannot give it that form: {error_summary(error)}"
        raise NotExpressibleError(reason) from error
    # An input may have several names.
    others = [port for port in model.inputs if not port.get_names() & KNOWN_INPUTS]
    names = sorted(port.get_any_name() for port in others)
    unknown = [n for n in names if not n.startswith((*KV_TABLES, *STATE_TABLES))]
    if unknown:
        raise NotExpressibleError(f"its PagedAttention form needs the inputs {', '.join(unknown)}")
    try:
        attention = complete_attention(model, read_config(models_path / "config.json"))
    except ModelLoadError as error:
        raise ModelLoadError(f"{models_path / MODEL_FILE}: {error}") from error
    limit, context = attention.context_limit, read_model_info(models_path).max_model_len
    if limit is not None and (context is None or context > limit):
        raise NotExpressibleError(f"its PagedAttention form is right up to {limit} tokens only")
    return attention
