"""Splits a model into its layers and its output head, so that only sampled rows become logits."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from server.engine.model.step_inputs import SAMPLED_ROWS_INPUT, TOKENS_INPUT
from server.errors import ModelLoadError

TILE_SIZES = (512, 256, 128, 64, 32)
DEFAULT_TILE_SIZE = 128
# Operations that may follow the last MatMul: bias, scaling, soft-capping.
LOGIT_OPS = frozenset({"Add", "Convert", "Divide", "Multiply", "Reshape", "Tanh", "Transpose"})
# Operations between token ids and the lookup of their embeddings.
INDEX_OPS = frozenset({"Clamp", "Convert", "Reshape", "Unsqueeze"})


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
    is the last matrix product and what follows it, with outputs of the form `output`. It is None
    where it was cut off. `num_embeddings` is set where the logits are not those of the tokens that
    the model reads, because it is a classifier, or has no head.
    """

    layers: ov.Model
    head: ov.Model | None
    output: ModelOutput
    num_embeddings: int | None = None


def split_model(model: ov.Model, where: Path, rows_axis: int = 0) -> SplitModel:
    """Split a model before its last matrix product; the model itself cannot be used any more.

    `rows_axis` is the axis of the hidden states that counts tokens: 0 in a PagedAttention form.
    Unsplit, a step would compute logits of every token of a prompt. A head of its own can have
    another precision, and does not run in a step that samples no row. Raises ModelLoadError,
    naming `where`, if the logits do not come from a matrix product.
    """
    logits = _find_logits(model) or model.outputs[0]
    product = _find_product(logits, where)
    hidden = product.input_value(0)
    layers = _gather_rows(model, hidden, rows_axis)
    head_input = ops.parameter(*_form_of(layers.output(0)))
    product.input(0).replace_source_output(head_input.output(0))
    head = ov.Model([logits.get_node()], [head_input], "head")
    head.validate_nodes_and_infer_types()
    return SplitModel(layers, head, _pad_last_tile(head))


def cut_off_head(model: ov.Model, where: Path, rows_axis: int = 0) -> SplitModel:
    """The layers alone, of a model whose output are logits, or the hidden states themselves.

    Otherwise as `split_model`. Raises ModelLoadError also where no table of embeddings is found.
    """
    logits = _find_logits(model)
    if logits is None:
        hidden = model.outputs[0].get_node().input_value(0)
    else:
        hidden = _find_product(logits, where).input_value(0)
    num_tokens = num_embeddings(model, where)
    layers = _gather_rows(model, hidden, rows_axis)
    return SplitModel(layers, None, _tiles(num_tokens), num_tokens)


def _find_logits(model: ov.Model) -> ov.Output | None:
    return next((port for port in model.outputs if "logits" in port.get_names()), None)


def _gather_rows(model: ov.Model, hidden: ov.Output, rows_axis: int) -> ov.Model:
    """The model up to the hidden states, of which it returns the rows of a new input."""
    rows = ops.parameter([-1], dtype=ov.Type.i64, name=SAMPLED_ROWS_INPUT)
    rows.output(0).get_tensor().set_names({SAMPLED_ROWS_INPUT})
    gathered = ops.gather(hidden, rows, ops.constant(rows_axis, dtype=ov.Type.i64))
    parameters = [*model.get_parameters(), rows]
    return ov.Model([ops.result(gathered)], model.get_sinks(), parameters, "layers")


def _form_of(port: ov.Output) -> tuple[ov.PartialShape, ov.Type]:
    return port.get_partial_shape(), port.get_element_type()


def num_embeddings(model: ov.Model, where: Path) -> int:
    """The number of tokens that a model has embeddings for. Raises ModelLoadError."""
    waiting = [port for port in model.inputs if TOKENS_INPUT in port.get_names()]
    while waiting:
        for target in waiting.pop().get_target_inputs():
            reader = target.get_node()
            table = reader.input_value(0).get_partial_shape()
            if reader.get_type_name() == "Gather" and target.get_index() == 1 and table.is_static:
                return int(table[0].get_length())
            if reader.get_type_name() in INDEX_OPS:
                waiting.append(reader.output(0))
    raise ModelLoadError(f"{where}: no table of embeddings for {TOKENS_INPUT} was found")


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
    """Pad the logits, the only output of a head, to whole tiles."""
    logits = head.output(0).get_node().input_value(0)
    output = _tiles(int(logits.get_partial_shape()[-1].get_length()))
    num_missing = output.num_tiles * output.tile_size - output.vocab_size
    if num_missing:
        no_ends = [0] * (logits.get_partial_shape().rank.get_length() - 1)
        begins, ends = (ops.constant([*no_ends, n], dtype=ov.Type.i64) for n in (0, num_missing))
        lowest = ops.convert(ops.constant(np.float32(-np.inf)), logits.get_element_type())
        padded = ops.pad(logits, begins, ends, "constant", lowest)
        head.output(0).get_node().input(0).replace_source_output(padded.output(0))
        head.validate_nodes_and_infer_types()
    return output


def _tiles(vocab_size: int) -> ModelOutput:
    size = next((s for s in TILE_SIZES if vocab_size % s == 0), DEFAULT_TILE_SIZE)
    return ModelOutput(vocab_size, -(-vocab_size // size), size)
