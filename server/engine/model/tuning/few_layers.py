"""Cuts a model down to its first layers, whose time tells that of all."""

from dataclasses import dataclass, replace

import openvino as ov
from openvino import opset13 as ops

from server.engine.model.load_check.graph import attention_operations
from server.engine.model.loading.graph_form import GraphForm

__all__ = ["FewLayers", "cut_to_few_layers"]


@dataclass(frozen=True, slots=True)
class FewLayers:
    """A model with the first `num_kept` of its `num_layers` layers, and its whole output head."""

    form: GraphForm
    num_kept: int
    num_layers: int

    @property
    def factor(self) -> float:
        """How many times as long all layers take."""
        return self.num_layers / self.num_kept

    def copy_form(self) -> GraphForm:
        """The form with a head of its own: compiling may change it."""
        parts = self.form.parts
        head = None if parts.head is None else parts.head.clone()
        return replace(self.form, parts=replace(parts, head=head))


def cut_to_few_layers(form: GraphForm, num_kept: int) -> FewLayers:
    """Keep `num_kept` layers, those with the first attention operations; or all.

    Between two layers there is a value that everything after it depends on: the residual stream.
    It takes the place of the last hidden states. A model without such a value keeps all layers.
    """
    layers = form.parts.layers
    num_layers = len(attention_operations(layers))
    if num_layers > num_kept:
        cut = _cut(layers, num_kept)
        if cut is not None:
            few = replace(form, parts=replace(form.parts, layers=cut))
            return FewLayers(few, num_kept, num_layers)
    return FewLayers(form, 1, 1)


def _cut(layers: ov.Model, num_kept: int) -> ov.Model | None:
    result = layers.output(0).get_node()
    gather = result.input_value(0).get_node()
    hidden, rows, axis = (gather.input_value(index) for index in range(3))
    between = _find_between(layers, num_kept)
    if between is None or layers.get_sinks():
        return None
    ports = [port for node in between for port in node.outputs() if _is_alike(port, hidden)]
    if not ports:
        return None
    gathered = ops.result(ops.gather(ports[-1], rows, axis))
    needed = _ancestors(gathered)
    parameters = [node for node in layers.get_parameters() if node.get_name() in needed]
    return ov.Model([gathered], parameters, "layers")


def _is_alike(port: ov.Output, hidden: ov.Output) -> bool:
    shape, wanted = port.get_partial_shape(), hidden.get_partial_shape()
    is_same_rank = shape.rank == wanted.rank
    is_same_type = port.get_element_type() == hidden.get_element_type()
    return bool(is_same_type and is_same_rank and shape[-1] == wanted[-1])


def _find_between(layers: ov.Model, number: int) -> list[ov.Node] | None:
    """The nodes through which all leads that comes from one attention to the next one.

    `number` is that of the second attention, from 0.
    """
    attention = attention_operations(layers)
    first, second = attention[number - 1], attention[number]
    before_second = _ancestors(second)
    order = [node for node in layers.get_ordered_ops() if node.get_name() in before_second]
    inside = {first.get_name()}
    chain = [first]
    for node in order:
        if any(port.get_node().get_name() in inside for port in node.input_values()):
            inside.add(node.get_name())
            chain.append(node)
    if second.get_name() not in inside:
        return None
    place = {node.get_name(): index for index, node in enumerate(chain)}
    last_use = [0] * len(chain)
    for index, node in enumerate(chain):
        for port in node.input_values():
            source = place.get(port.get_node().get_name())
            if source is not None:
                last_use[source] = max(last_use[source], index)
    found, reach = [], 0
    for index, node in enumerate(chain[:-1]):
        if index and reach <= index:
            found.append(node)
        reach = max(reach, last_use[index])
    return found


def _ancestors(node: ov.Node) -> set[str]:
    """The names of a node and of all that it depends on."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if current.get_name() not in found:
            found.add(current.get_name())
            waiting.extend(port.get_node() for port in current.input_values())
    return found
