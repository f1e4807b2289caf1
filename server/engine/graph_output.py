"""What the engine changes at the end of a model: only rows that are sampled, and their maxima."""

from dataclasses import dataclass
from pathlib import Path

import openvino as ov
from openvino import opset13 as ops

from server.errors import ModelLoadError

SAMPLED_ROWS_INPUT = "sampled_tokens_indices"
STRETCHES = (512, 256, 128, 64, 32)
# What may stand between the last MatMul and the logits: bias, scaling, soft-capping.
LOGIT_OPS = frozenset({"Add", "Convert", "Divide", "Multiply", "Reshape", "Tanh", "Transpose"})


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """Where a model gives its logits, f32[rows, 1, vocab_size].

    `maxima_index` is the output f32[rows, vocab_size / stretch] with the highest logit of each
    stretch of the vocabulary; None where the vocabulary does not divide into stretches.
    """

    vocab_size: int
    logits_index: int
    maxima_index: int | None


def edit_output(model: ov.Model, where: Path) -> ModelOutput:
    """Compute only the rows that are sampled, and their maxima beside the logits.

    Raises ModelLoadError, naming `where`, if the logits do not come from a matrix product.
    """
    names = ["logits" in port.get_names() for port in model.outputs]
    index = names.index(True) if True in names else 0
    vocab_size = _gather_sampled_rows(model, model.outputs[index], where)
    maxima_index = _add_stretch_maxima(model, model.outputs[index], vocab_size)
    model.validate_nodes_and_infer_types()
    return ModelOutput(vocab_size, index, maxima_index)


def _gather_sampled_rows(model: ov.Model, logits: ov.Output, where: Path) -> int:
    """Let the last MatMul see only the rows that are sampled; returns the vocabulary size.

    Adds the i64 input `sampled_tokens_indices` with the row numbers. A step of a long prompt would
    otherwise compute, and copy, logits of every prompt token.
    """
    vocab = logits.get_partial_shape()[-1]
    node = logits.get_node().input_value(0).get_node()
    while node.get_type_name() in LOGIT_OPS:
        node = node.input_value(0).get_node()
    if node.get_type_name() != "MatMul" or vocab.is_dynamic:
        raise ModelLoadError(
            f"{where}: its output does not come from a matrix product over a "
            f"vocabulary of fixed size; found {node.get_type_name()} and {vocab}"
        )
    rows = ops.parameter([-1], dtype=ov.Type.i64, name=SAMPLED_ROWS_INPUT)
    rows.output(0).get_tensor().set_names({SAMPLED_ROWS_INPUT})
    gathered = ops.gather(node.input_value(0), rows, ops.constant(0, dtype=ov.Type.i64))
    node.input(0).replace_source_output(gathered.output(0))
    model.add_parameters([rows])
    return int(vocab.get_length())


def _add_stretch_maxima(model: ov.Model, logits: ov.Output, vocab_size: int) -> int | None:
    """Add the output of the maxima; returns its index.

    Greedy sampling then reads a few kB of a row instead of all of it, and the maxima are found by
    all threads while the logits are still in their caches.
    """
    size = next((s for s in STRETCHES if vocab_size % s == 0 and vocab_size > s), None)
    if size is None:
        return None
    shape = ops.constant([-1, vocab_size // size, size], dtype=ov.Type.i64)
    stretches = ops.reshape(logits.get_node().input_value(0), shape, False)
    maxima = ops.reduce_max(stretches, ops.constant([2], dtype=ov.Type.i64), False)
    model.add_results([ops.result(maxima)])
    return len(model.outputs) - 1
