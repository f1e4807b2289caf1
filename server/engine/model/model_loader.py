"""Reads a model folder and compiles its model, in PagedAttention form where that is possible."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import openvino as ov

from server.engine.adapters.settings import NO_ADAPTERS, AdapterSettings
from server.engine.config import PluginValue
from server.engine.kv.kv_cache import CacheInput, cache_inputs, state_tables
from server.engine.model.attention import AttentionForm
from server.engine.model.device import Device, find_device
from server.engine.model.loading.adapter_branches import (
    AdapterBranches,
    add_adapter_branches,
    check_adapters,
)
from server.engine.model.loading.compilation import compile_parts
from server.engine.model.loading.files import check_files, lease_weights
from server.engine.model.loading.graph_form import GraphForm, read_form
from server.engine.model.loading.untuned import set_untuned
from server.engine.model.model_info import (
    config_layers,
    longrope_switch,
    read_config,
    read_model_info,
)
from server.engine.model.output_head import ModelOutput
from server.engine.model.stateful.encoder import Encoder, load_encoder, read_encoder, read_prefix
from server.engine.model.stateful.state_form import StateForm
from server.engine.model.verification_record import describe_verification
from server.engine.system.file_lease import FileLease
from server.errors import ModelLoadError
from server.host.model_files import has_encoder
from server.host.openvino_core import find_device_problem

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model compiled in two parts, layers and output head, and what the engine needs to know.

    `state_tables` are those of a PagedAttention model with convolutions or linear attention.
    `states` is None for a PagedAttention model. Another one runs as it was exported, with states
    instead of `kv_inputs`; `not_paged` says why. With an `encoder`, the rest is the decoder. `head`
    is None where it was not asked for. `num_embeddings` is that of SplitModel. `adapters` is None
    for a graph without branches for adapters.
    """

    layers: ov.CompiledModel
    head: ov.CompiledModel | None
    kv_inputs: tuple[CacheInput, ...]
    block_size: int
    output: ModelOutput
    has_position_ids: bool
    device: Device
    attention: AttentionForm
    state_tables: tuple[CacheInput, ...] = ()
    num_embeddings: int | None = None
    weights_lease: FileLease | None = None
    states: StateForm | None = None
    not_paged: str | None = None
    encoder: Encoder | None = None
    adapters: AdapterBranches | None = None


def load_model(
    models_path: Path,
    device: str,
    plugin_config: Mapping[str, PluginValue],
    has_head: bool = True,
    adapters: AdapterSettings = NO_ADAPTERS,
    is_tuned: bool = True,
) -> LoadedModel:
    """Read the stateful IR, transform it to PagedAttention form if it has one, and compile it.

    Without `has_head` the layers alone are compiled; then the IR may be a stateless decoder.
    `adapters` says which products get branches for adapters. Where tuning has not chosen what
    `plugin_config` has, `set_untuned` completes it. Raises ModelLoadError for a missing or
    corrupt file, a model that is not a stateful language model, an unknown device, or a property
    that the device refuses.
    """
    check_files(models_path)
    lease = None if "ENABLE_MMAP" in plugin_config else lease_weights(models_path)
    try:
        found_device = find_device(device)
        is_mapped = plugin_config.get("ENABLE_MMAP", lease is not None)
        form = read_form(models_path, is_mapped, has_head)
        if not is_tuned:
            plugin_config = set_untuned(form, found_device, plugin_config)
        branches = add_adapter_branches(form, adapters, found_device, plugin_config, models_path)
        loaded = compile_form(form, models_path, found_device, plugin_config, lease)
        return replace(loaded, adapters=branches)
    except BaseException:
        # A caller that keeps the error would keep this frame, and with it the lease and its file.
        if lease is not None:
            lease.close()
        raise


@contextmanager
def opened_form(models_path: Path, plugin_config: Mapping[str, PluginValue]) -> Iterator[GraphForm]:
    """Read a model that is compiled and used within the block only. Raises ModelLoadError."""
    lease = None if "ENABLE_MMAP" in plugin_config else lease_weights(models_path)
    try:
        yield read_form(models_path, plugin_config.get("ENABLE_MMAP", lease is not None), True)
    finally:
        if lease is not None:
            lease.close()


def compile_form(
    form: GraphForm,
    models_path: Path,
    device: Device,
    plugin_config: Mapping[str, PluginValue],
    lease: FileLease | None = None,
) -> LoadedModel:
    """Compile a model that was read; `lease` is that on its weights. Raises ModelLoadError."""
    load = _load_stateful if form.attention is None else _load_paged
    return load(form, models_path, device, plugin_config, lease)


def check_loadable(
    models_path: Path,
    device: str,
    plugin_config: Mapping[str, PluginValue],
    has_head: bool = True,
    adapters: AdapterSettings = NO_ADAPTERS,
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
    form = read_form(models_path, plugin_config.get("ENABLE_MMAP", True), has_head)
    check_adapters(form, adapters, models_path)
    if form.parts.num_embeddings is None:
        describe_verification(models_path)
    if has_encoder(models_path):
        read_encoder(models_path, is_mapped=True)
        read_prefix(models_path)


def _load_paged(
    form: GraphForm,
    models_path: Path,
    device: Device,
    plugin_config: Mapping[str, PluginValue],
    lease: FileLease | None,
) -> LoadedModel:
    attention = form.attention
    assert attention is not None, "the form is a paged one"
    layers, head = compile_parts(form.parts, device, plugin_config, models_path)
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
        output=form.parts.output,
        num_embeddings=form.parts.num_embeddings,
        has_position_ids=any("position_ids" in port.get_names() for port in layers.inputs),
        device=device,
        attention=attention,
        state_tables=state_tables(layers),
        weights_lease=lease,
    )


def _load_stateful(
    form: GraphForm,
    models_path: Path,
    device: Device,
    plugin_config: Mapping[str, PluginValue],
    lease: FileLease | None,
) -> LoadedModel:
    states = form.states
    assert states is not None, "the form has states"
    if states.takes_single_tokens or has_encoder(models_path):
        # In bf16 a state would lose digits with every token, and the decoder behind an encoder
        # gives other answers to the same prompt now and then (OpenVINO 2026.4).
        plugin_config = {"INFERENCE_PRECISION_HINT": "f32", **plugin_config}
    layers, head = compile_parts(form.parts, device, plugin_config, models_path)
    config = config_layers(read_config(models_path / "config.json"))[-1]
    return LoadedModel(
        layers=layers,
        head=head,
        kv_inputs=(),
        block_size=0,
        output=form.parts.output,
        num_embeddings=form.parts.num_embeddings,
        has_position_ids="position_ids" in states.inputs,
        device=device,
        attention=AttentionForm(long_after=longrope_switch(config)),
        weights_lease=lease,
        states=states,
        not_paged=form.not_paged,
        encoder=load_encoder(models_path, device, plugin_config)
        if has_encoder(models_path)
        else None,
    )
