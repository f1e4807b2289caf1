"""Splits a model into its layers and its output head, so that only sampled rows become logits."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from server.engine.model.step_inputs import SAMPLED_ROWS_INPUT
from server.errors import ModelLoadError

TILE_SIZES = (512, 256, 128, 64, 32)
DEFAULT_TILE_SIZE = 128
# Operations that may follow the last MatMul: bias, scaling, soft-capping.
LOGIT_OPS = frozenset({"Add", "Convert", "Divide", "Multiply", "Reshape", "Tanh", "Transpose"})


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """The form of a head's outputs.

    The first one is f32[rows, ..., num_tiles * tile_size]: logits of `vocab_size` tokens, then -inf
    up to the end of the last tile. A head of `quantize_rows` may have a second one, f32[rows, 1]:
    the scales by which the rows must be multiplied.
    """

    vocab_size: int
    num_tiles: int
    tile_size: int


@dataclass(frozen=True, slots=True)
class SplitModel:
    """A model in two parts that run one after the other.

    `layers` returns the hidden states of the rows in its i64 input `sampled_tokens_indices`; `head`
    is the last matrix product and what follows it, with outputs of the form `output`.
    """

    layers: ov.Model
    head: ov.Model
    output: ModelOutput


def split_model(model: ov.Model, where: Path, rows_axis: int = 0) -> SplitModel:
    """Split a model before its last matrix product; the model itself cannot be used any more.

    `rows_axis` is the axis of the hidden states that counts tokens: 0 in a PagedAttention form.
    Unsplit, a step would compute logits of every token of a prompt. A head of its own can have
    another precision, and does not run in a step that samples no row. Raises ModelLoadError,
    naming `where`, if the logits do not come from a matrix product.
    """
    names = ["logits" in port.get_names() for port in model.outputs]
    logits = model.outputs[names.index(True) if True in names else 0]
    product = _find_product(logits, where)
    hidden = product.input_value(0)
    rows = ops.parameter([-1], dtype=ov.Type.i64, name=SAMPLED_ROWS_INPUT)
    rows.output(0).get_tensor().set_names({SAMPLED_ROWS_INPUT})
    gathered = ops.gather(hidden, rows, ops.constant(rows_axis, dtype=ov.Type.i64))
    parameters = [*model.get_parameters(), rows]
    layers = ov.Model([ops.result(gathered)], model.get_sinks(), parameters, "layers")
    head_input = ops.parameter(gathered.get_output_partial_shape(0), gathered.get_element_type())
    product.input(0).replace_source_output(head_input.output(0))
    head = ov.Model([logits.get_node()], [head_input], "head")
    head.validate_nodes_and_infer_types()
    return SplitModel(layers, head, _pad_last_tile(head))


def _find_product(logits: ov.Output, where: Path) -> ov.Node:
    node = logits.get_node().input_value(0).get_node()
    while node.get_type_name() in LOGIT_OPS:
        node = node.input_value(0).get_node()
    vocab = logits.get_partial_shape()[-1]
    if node.get_type_name() != "MatMul" or vocab.is_dynamic:
        raise ModelLoadError(
            f"{where}: its output does not come from a matrix product over a "
            f"vocabulary of fixed size; found {node.get_type_name()} and {vocab}"
        )
    return node


def _pad_last_tile(head: ov.Model) -> ModelOutput:
    """Choose a tile size, and pad the logits, the only output of a head, to whole tiles."""
    logits = head.output(0).get_node().input_value(0)
    vocab_size = int(logits.get_partial_shape()[-1].get_length())
    size = next((s for s in TILE_SIZES if vocab_size % s == 0), DEFAULT_TILE_SIZE)
    num_tiles = -(-vocab_size // size)
    num_missing = num_tiles * size - vocab_size
    if num_missing:
        no_ends = [0] * (logits.get_partial_shape().rank.get_length() - 1)
        begins, ends = (ops.constant([*no_ends, n], dtype=ov.Type.i64) for n in (0, num_missing))
        lowest = ops.convert(ops.constant(np.float32(-np.inf)), logits.get_element_type())
        padded = ops.pad(logits, begins, ends, "constant", lowest)
        head.output(0).get_node().input(0).replace_source_output(padded.output(0))
        head.validate_nodes_and_infer_types()
    return ModelOutput(vocab_size, num_tiles, size)
