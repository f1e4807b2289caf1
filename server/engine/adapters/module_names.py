"""Finds the modules of an adapter in a model, whose names may begin otherwise."""

from collections.abc import Mapping
from typing import Protocol

from server.engine.adapters.peft_adapter import PeftAdapter
from server.errors import ModelLoadError

__all__ = ["Sized", "find_modules"]

# In this order, as audio and vision have encoders too.
OTHER_PARTS = ("vision", "visual", "audio", "encoder")
HEADS = ("lm_head", "embed_out", "output_layer")


class Sized(Protocol):
    """A module of the model."""

    @property
    def num_inputs(self) -> int: ...
    @property
    def num_outputs(self) -> int: ...


def find_modules(adapter: PeftAdapter, modules: Mapping[str, Sized]) -> dict[str, str]:
    """The name in the model for each name in the adapter. Raises ModelLoadError.

    A part of a larger model, such as the text model of one that sees images, has names that lack
    the beginning, or have one more.
    """
    found: dict[str, str] = {}
    for own, shape in adapter.shapes.items():
        name = _find(own, modules)
        if name is None or _part_of(own) != _part_of(name):
            problem = _describe_unknown(own, modules)
            raise ModelLoadError(f"{adapter.file}: {problem}{_base(adapter)}")
        if name in found.values():
            other = next(each for each in found if found[each] == name)
            raise ModelLoadError(f"{adapter.file}: {other} and {own} are both called like {name}")
        module = modules[name]
        if (module.num_inputs, module.num_outputs) != (shape.num_inputs, shape.num_outputs):
            raise ModelLoadError(
                f"{adapter.file}: {own} goes from {shape.num_inputs} values to "
                f"{shape.num_outputs}, in this model from {module.num_inputs} to "
                f"{module.num_outputs}{_base(adapter)}"
            )
        found[own] = name
    return found


def _find(own: str, modules: Mapping[str, Sized]) -> str | None:
    if own in modules:
        return own
    ending = [name for name in modules if name.endswith(f".{own}") or own.endswith(f".{name}")]
    if len(ending) == 1:
        return ending[0]
    # From the number of the layer on.
    parts = own.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), 0)
    tail = "." + ".".join(parts[max(0, number - 1) :])
    ending = [name for name in modules if f".{name}".endswith(tail)]
    return ending[0] if len(ending) == 1 else None


def _part_of(name: str) -> str | None:
    """The part beside the text model that a layer belongs to: its layers may be called alike."""
    return next((part for part in OTHER_PARTS if part in name), None)


def _describe_unknown(own: str, modules: Mapping[str, Sized]) -> str:
    if own.rpartition(".")[2] in HEADS:
        return f"{own} is the output head; adapters of it are not supported"
    if (part := _part_of(own)) is not None:
        return f"{own} is in another part ({part}) than the text model; only that can be changed"
    if ".experts" in own:
        return f"{own} belongs to experts; adapters of them are not supported"
    leaves = sorted({name.rpartition(".")[2] for name in modules})
    return (
        f"{own} is no matrix product of this model that adapters can change; it has layers with "
        f"{', '.join(leaves) or 'none'}"
    )


def _base(adapter: PeftAdapter) -> str:
    base = adapter.config.base_model
    return f"; the adapter was made for {base!r}" if base else ""
