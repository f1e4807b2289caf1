"""Give a model the layouts, shapes and batch size that its options ask for."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import openvino as ov
from openvino.preprocess import PrePostProcessor

from calculators.inference.model_ports import names_of
from calculators.inference.shape_options import ANY, Layout, Range, Shape

__all__ = ["apply_layouts", "reshape_batch", "reshape_inputs"]

T = TypeVar("T")


def apply_layouts(model: Any, layouts: Mapping[str, Layout]) -> Any:
    """Transpose where clients use another layout. Raises ValueError, RuntimeError."""
    if not layouts:
        return model
    processor = PrePostProcessor(model)
    sides = [
        *((port, processor.input(i)) for i, port in enumerate(model.inputs)),
        *((port, processor.output(i)) for i, port in enumerate(model.outputs)),
    ]
    by_name = {name: side for port, side in sides for name in names_of(port)}
    for name, layout in _name_the_only("layout", layouts, model).items():
        side = _find("layout", by_name, name)
        side.tensor().set_layout(ov.Layout(layout.of_clients))
        side.model().set_layout(ov.Layout(layout.of_model))
    return processor.build()


def reshape_inputs(model: Any, shapes: Mapping[str, Shape | None]) -> None:
    """Set the shapes of the named inputs. Raises ValueError, RuntimeError."""
    by_name = {name: port for port in model.inputs for name in names_of(port)}
    reshaped: dict[Any, Any] = {}
    for name, shape in _name_the_only("shape", shapes, model).items():
        port = _find("shape", by_name, name)
        reshaped[port] = _partial_shape([ANY] * len(port.partial_shape) if shape is None else shape)
    if reshaped:
        model.reshape(reshaped)


def reshape_batch(model: Any, batch_size: Range) -> None:
    """Set the batch dimension of every input: N of its layout, else the first one.

    Raises RuntimeError.
    """
    reshaped: dict[Any, Any] = {}
    for port in model.inputs:
        shape = [(d.get_min_length(), d.get_max_length()) for d in port.partial_shape]
        layout = ov.layout_helpers.get_layout(port)
        axis = 0 if layout.empty else _batch_axis(layout)
        if shape and axis is not None:
            shape[axis] = batch_size
            reshaped[port] = _partial_shape(shape)
    model.reshape(reshaped)


def _batch_axis(layout: Any) -> int | None:
    has_batch = ov.layout_helpers.has_batch(layout)
    return ov.layout_helpers.batch_idx(layout) if has_batch else None


def _partial_shape(shape: Iterable[Range]) -> Any:
    return ov.PartialShape([ov.Dimension(*length) for length in shape])


def _name_the_only(option: str, values: Mapping[str, T], model: Any) -> Mapping[str, T]:
    """A value without a name is for the only input."""
    if "" not in values:
        return values
    names = [names_of(port)[0] for port in model.inputs]
    if len(names) != 1:
        raise ValueError(
            f"{option} is one text, but the model has the inputs {', '.join(names)}; "
            f"possible: an object with a text for each"
        )
    return {names[0]: values[""]}


def _find(option: str, known: Mapping[str, T], name: str) -> T:
    if name not in known:
        names: Sequence[str] = list(known)
        raise ValueError(
            f"{option} names {name!r}, which the model does not have; possible: {', '.join(names)}"
        )
    return known[name]
