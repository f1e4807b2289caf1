"""Adds to the matrix products of a model what adapters change: y + (x @ A) @ B, by adapter.

The rows of a step that have an adapter are gathered into tiles, each for one adapter. So a row is
multiplied with the matrices of its own adapter alone, and plain rows with none. A step without
adapters has no tiles, and its branches compute nothing. One product with the joined matrices of all
adapters and a mask takes eight times as many operations for eight adapters.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import openvino as ov
from openvino import opset13 as ops

__all__ = [
    "TILES_INPUT",
    "AdaptedModule",
    "add_branches",
    "find_products",
]

TILES_INPUT = "adapters.tiles"
# Exporters from PyTorch name operations like __module.layers.0.q_proj/aten::linear/MatMul.
MODULE_PREFIX = "__module."
# Rows of experts are those of the tokens that were routed to them.
ROUTED = ".experts."
# NNCF's name of the factors that SmoothQuant multiplies the inputs of a product by.
SMOOTHING = "nncf_smooth_quant"


@dataclass(frozen=True, slots=True)
class AdaptedModule:
    """A module with branches, named as in the PyTorch model.

    Its inputs are `a_input` [tiles, inputs, rank] and `b_input` [tiles, rank, outputs].
    """

    name: str
    num_inputs: int
    num_outputs: int
    a_input: str
    b_input: str


def find_products(model: ov.Model) -> Mapping[str, list[ov.Node]]:
    """The products with weights that adapters can change, by the module's name.

    A module that the model runs at several places has several of them.
    """
    found: dict[str, list[ov.Node]] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MatMul" and _is_adaptable(node):
            found.setdefault(_module_of(node), []).append(node)
    return found


def add_branches(
    model: ov.Model, names: Collection[str], element_type: ov.Type
) -> tuple[AdaptedModule, ...]:
    """Give the products of these modules branches, whose weights are inputs of `element_type`.

    The input i32 TILES_INPUT [tiles, rows] says which rows of a step are in each tile. A tile with
    fewer rows than others is filled up with one of its own: what is added to it stays the same.
    """
    products = find_products(model)
    tiles = _parameter(TILES_INPUT, [-1, -1], ov.Type.i32)
    branches = _Branches(tiles, element_type)
    parameters, modules = [tiles], []
    for number, name in enumerate(sorted(names)):
        module = _describe(name, products[name][0], number)
        a = _parameter(module.a_input, [-1, module.num_inputs, -1], element_type)
        b = _parameter(module.b_input, [-1, -1, module.num_outputs], element_type)
        for node in products[name]:
            branches.add(node, a, b)
        parameters += [a, b]
        modules.append(module)
    model.add_parameters(parameters)
    model.validate_nodes_and_infer_types()
    return tuple(modules)


def _is_adaptable(node: ov.Node) -> bool:
    name = node.get_friendly_name()
    if not name.startswith(MODULE_PREFIX) or ROUTED in name:
        return False
    weights, attributes = node.input_value(1).get_partial_shape(), node.get_attributes()
    is_linear = weights.is_static and len(weights) == 2 and not attributes["transpose_a"]
    source, product = node.input_value(0).get_partial_shape(), node.output(0).get_partial_shape()
    return is_linear and all(map(_has_rows, (source, product)))


def _has_rows(shape: ov.PartialShape) -> bool:
    """Whether a shape is [tokens, size], or [tokens, 1, size] as in PagedAttention models."""
    has_one_axis = len(shape) == 2 or (len(shape) == 3 and shape[1] == ov.Dimension(1))
    return has_one_axis and bool(shape[-1].is_static)


def _module_of(node: ov.Node) -> str:
    name: str = node.get_friendly_name().removeprefix(MODULE_PREFIX).partition("/")[0]
    return name


def _describe(name: str, node: ov.Node, number: int) -> AdaptedModule:
    num_inputs = node.input_value(0).get_partial_shape()[-1].get_length()
    num_outputs = node.output(0).get_partial_shape()[-1].get_length()
    inputs = f"adapters.a.{number}", f"adapters.b.{number}"
    return AdaptedModule(name, num_inputs, num_outputs, *inputs)


def _parameter(name: str, shape: list[int], element_type: ov.Type) -> ov.Node:
    parameter = ops.parameter(shape, element_type, name=name)
    parameter.output(0).get_tensor().set_names({name})
    return parameter


class _Branches:
    """What all branches of a model share: the tiles, and the inputs of products in them."""

    def __init__(self, tiles: ov.Node, element_type: ov.Type) -> None:
        self._tiles = tiles
        self._rows = ops.reshape(tiles, ops.constant([-1], ov.Type.i64), False)
        self._element_type = element_type
        self._first = ops.constant(0, ov.Type.i64)
        self._gathered: dict[str, ov.Node] = {}

    def add(self, node: ov.Node, a: ov.Node, b: ov.Node) -> None:
        """Add (x @ a) @ b to the rows of a product, or of its sum with a bias, that are in tiles.

        The other rows are neither read nor written.
        """
        products = ops.matmul(self._gather(node.input_value(0)), a, False, False)
        change = ops.matmul(products, b, False, False)
        output = _after_bias(node)
        readers = list(output.get_target_inputs())
        change = _convert(_shaped_like(change, output), ov.Type.f32)
        sums = ops.add(ops.gather(output, self._rows, self._first), change)
        changed = ops.scatter_update(output, self._rows, sums, self._first)
        for reader in readers:
            reader.replace_source_output(changed.output(0))

    def _gather(self, source: ov.Output) -> ov.Node:
        """The tiles of a product's input, which other products may share."""
        source = _unquantized(source)
        key = f"{source.get_node().get_friendly_name()}:{source.get_index()}"
        if key not in self._gathered:
            rows = ops.gather(_as_rows(source), self._tiles, self._first)
            self._gathered[key] = _convert(rows, self._element_type)
        return self._gathered[key]


def _as_rows(values: ov.Output) -> ov.Node:
    size = values.get_partial_shape()[-1].get_length()
    return ops.reshape(values, ops.constant([-1, size], ov.Type.i64), False)


def _convert(node: ov.Node, element_type: ov.Type) -> ov.Node:
    is_that = node.get_element_type() == element_type
    return node if is_that else ops.convert(node, element_type)


def _unquantized(source: ov.Output) -> ov.Output:
    """The input of a product before it was smoothed and quantised."""
    node = source.get_node()
    if node.get_type_name() == "FakeQuantize" or SMOOTHING in node.get_friendly_name():
        return _unquantized(node.input_value(0))
    return source


def _after_bias(node: ov.Node) -> ov.Output:
    """The output of a product, with its bias if it has one: the plugin fuses these two."""
    readers = list(node.output(0).get_target_inputs())
    if len(readers) == 1 and readers[0].get_node().get_type_name() == "Add":
        add = readers[0].get_node()
        other = add.input_value(1 - readers[0].get_index()).get_partial_shape()
        if other.is_static and all(size == 1 for size in list(other)[:-1]):
            return add.output(0)
    return node.output(0)


def _shaped_like(change: ov.Node, output: ov.Output) -> ov.Node:
    """The rows of all tiles in the shape of a product's output: [rows, size] or [rows, 1, size]."""
    shape = output.get_partial_shape()
    sizes = [1] * (len(shape) - 2) + [shape[-1].get_length()]
    return ops.reshape(change, ops.constant([-1, *sizes], ov.Type.i64), False)
