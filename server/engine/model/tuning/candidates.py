"""The properties that tuning tries."""

import os
from collections.abc import Iterator, Set

import openvino as ov

from server.engine.config import EngineConfig, PluginValue
from server.engine.model.cache.cache_sizing import has_room_for_16_bits
from server.engine.model.loading.untuned import GROUP_SIZE, PRECISION_PROPERTIES, ROW_WISE
from server.engine.model.model_loader import LoadedModel
from server.host.cpu_features import has_vnni
from server.host.processors.cpu_quota import num_allowed_cpus

Properties = dict[str, PluginValue]

CACHE_PREFIXES = ("KV_CACHE_", "KEY_CACHE_", "VALUE_CACHE_")
"""The names of the properties that say what the KV cache is made of begin with one of these."""


def find_choices(
    model: LoadedModel,
    config: EngineConfig,
    max_model_len: int | None,
    factor: float = 1.0,
    *,
    is_fused: bool = False,
) -> list[list[Properties]]:
    """The candidates of each choice that the user has left open; the likeliest ones first.

    `model` may have few layers; all have `factor` times as many. `is_fused` says that the plugin
    has fused MLPs for its weights. Raises ModelLoadError where memory is too short for a KV cache.
    """
    stated = config.plugin_config.keys()
    has_room = has_room_for_16_bits(config, model, max_model_len, factor)
    choices = [
        list(_precisions(stated, is_fused)),
        list(_thread_counts(model, stated)),
        list(_cache_forms(model, stated, has_room)),
    ]
    return [candidates for candidates in choices if candidates]


def _precisions(stated: Set[str], is_fused: bool) -> list[Properties]:
    """F32 with a fine int8 quantisation, or int8 activations with one scale for each token.

    Without VNNI the CPU plugin does not quantise activations (openvino,
    dnnl_fullyconnected_primitive.cpp).
    """
    if not (stated.isdisjoint(PRECISION_PROPERTIES) and has_vnni()):
        return []
    if GROUP_SIZE in stated:
        return [{"INFERENCE_PRECISION_HINT": "f32"}]
    fine: Properties = {"INFERENCE_PRECISION_HINT": "f32", GROUP_SIZE: "128"}
    by_rows: Properties = {GROUP_SIZE: ROW_WISE}
    return [by_rows, fine] if is_fused else [fine, by_rows]


def _thread_counts(model: LoadedModel, stated: Set[str]) -> Iterator[Properties]:
    """All processors of this process, and as many as a container may keep busy."""
    name = "INFERENCE_NUM_THREADS"
    if name not in stated:
        default = int(model.layers.get_property(name))
        for num in sorted({len(os.sched_getaffinity(0)), num_allowed_cpus()} - {default}):
            yield {name: num}


def _cache_forms(
    model: LoadedModel, stated: Set[str], has_room_for_wide: bool
) -> Iterator[Properties]:
    """Other forms of a KV cache of 8 bits."""
    keys = next(i for i in model.kv_inputs if i.name.startswith("key_cache."))
    if keys.element_type not in (ov.Type.u8, ov.Type.i8):
        return
    if "KEY_CACHE_QUANT_MODE" not in stated:
        yield {"KEY_CACHE_QUANT_MODE": "BY_TOKEN"}
    if has_room_for_wide and not any(name.startswith(CACHE_PREFIXES) for name in stated):
        # The plugin makes bf16 of it where it computes in bf16.
        yield {"KV_CACHE_PRECISION": "f16"}
