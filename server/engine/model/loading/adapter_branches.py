"""Decides which products of a model get branches for adapters, and with which type of numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import openvino as ov

from server.engine.adapters.branches import AdaptedModule, add_branches, find_products
from server.engine.adapters.module_names import find_modules
from server.engine.adapters.peft_adapter import PeftAdapter
from server.engine.adapters.settings import AdapterSettings
from server.engine.config import PluginValue
from server.engine.model.device import Device
from server.engine.model.loading.graph_form import GraphForm
from server.errors import ModelLoadError
from server.host.openvino_core import shared_core

__all__ = ["AdapterBranches", "add_adapter_branches", "check_adapters"]

HINT = "INFERENCE_PRECISION_HINT"


@dataclass(frozen=True, slots=True)
class AdapterBranches:
    """The modules with branches, and the type of their weights."""

    modules: tuple[AdaptedModule, ...]
    element_type: ov.Type


@dataclass(frozen=True, slots=True)
class _Size:
    num_inputs: int
    num_outputs: int


def check_adapters(form: GraphForm, adapters: AdapterSettings, models_path: Path) -> None:
    """Raise ModelLoadError where the adapters that a model begins with do not fit it."""
    if adapters.are_wanted:
        _find_targets(form, adapters, models_path)


def add_adapter_branches(
    form: GraphForm,
    adapters: AdapterSettings,
    device: Device,
    plugin_config: Mapping[str, PluginValue],
    models_path: Path,
) -> AdapterBranches | None:
    """Give a model the branches that its adapters need; all that are possible if it is open.

    Returns None, and changes nothing, where no adapters are wanted, or none are possible and none
    named. Raises ModelLoadError.
    """
    if not adapters.are_wanted:
        return None
    names = _find_targets(form, adapters, models_path)
    if not names:
        return None
    hint = plugin_config.get(HINT) or shared_core().get_property(device.name, HINT)
    is_bf16 = hint in ("bf16", "bfloat16", ov.Type.bf16)
    element_type = ov.Type.bf16 if is_bf16 else ov.Type.f32
    return AdapterBranches(add_branches(form.parts.layers, names, element_type), element_type)


def _find_targets(form: GraphForm, adapters: AdapterSettings, models_path: Path) -> set[str]:
    """The modules to adapt. Raises ModelLoadError for adapters that do not fit."""
    if form.attention is None:
        if adapters.sources:
            raise ModelLoadError(
                f"{models_path}: adapters need PagedAttention, which this model cannot have: "
                f"{form.not_paged}"
            )
        return set()
    if adapters.modules:
        return set(adapters.modules)
    products = find_products(form.parts.layers)
    sizes = {name: _size_of(nodes[0]) for name, nodes in products.items()}
    targets: set[str] = set()
    for source in adapters.sources:
        targets.update(find_modules(PeftAdapter.find(source.path), sizes).values())
    if adapters.is_open:
        ends = adapters.targets
        targets.update(n for n in products if not ends or n.rpartition(".")[2] in ends)
    return targets


def _size_of(node: ov.Node) -> _Size:
    shapes = node.input_value(0).get_partial_shape(), node.output(0).get_partial_shape()
    return _Size(*(shape[-1].get_length() for shape in shapes))
