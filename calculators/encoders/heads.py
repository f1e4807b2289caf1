"""What is added to an encoder's graph: pooling, layers after it, normalisation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from calculators.encoders.encoder_service import Vector

__all__ = [
    "ACTIVATIONS",
    "DenseLayer",
    "Pooling",
    "add_tail",
    "log_odds_head",
    "logits_head",
    "pooled_head",
    "token_output",
]


class Pooling(IntEnum):
    """Which of a text's token vectors stand for it: the first, the last, or the mean of all."""

    CLS = 0
    LAST = 1
    MEAN = 2


@dataclass(frozen=True, slots=True, eq=False)
class DenseLayer:
    """A layer behind the pooling: activation(weights @ x + bias).

    `weights` is [out, in]. `activation` is one of ACTIVATIONS.
    """

    weights: Vector
    bias: Vector | None
    activation: str


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "Identity": lambda x: x,
    "Tanh": ops.tanh,
    "ReLU": ops.relu,
    "Sigmoid": ops.sigmoid,
    "GELU": lambda x: ops.gelu(x, "erf"),
    "SiLU": ops.swish,
}


def pooled_head(
    model: Any, pooling: Pooling, layers: Sequence[DenseLayer], *, normalize: bool
) -> Any:
    """The model with the output [rows, size], one vector for each text, and [rows, tokens, size].

    If the model pools itself, its vectors are taken as they are but for their norm, and there is no
    second output. Raises ValueError.
    """
    tokens = token_output(model)
    if len(tokens.get_partial_shape()) == 2:
        return _with_outputs(model, add_tail(tokens, (), normalize=normalize))
    pooled = _pool(tokens, _mask(model), pooling)
    return _with_outputs(model, add_tail(pooled, layers, normalize=normalize), tokens)


def tail_head(model: Any, layers: Sequence[DenseLayer], *, normalize: bool) -> Any:
    """What follows the pooling, behind a model whose output is pooled vectors: [rows, size]."""
    (output,) = model.outputs
    pooled = output.get_node().input_value(0)
    return _with_outputs(model, add_tail(pooled, layers, normalize=normalize))


def logits_head(model: Any) -> Any:
    """The model with one output, [rows, labels]: the scores of a classifier. Raises ValueError."""
    logits = [output for output in model.outputs if len(output.get_partial_shape()) == 2]
    if not logits:
        raise ValueError(
            f"the outputs are {_describe_outputs(model)}; a classifier has one of 2 dimensions"
        )
    return _with_outputs(model, logits[0].get_node().input_value(0))


def log_odds_head(model: Any) -> Any:
    """Behind the logits of one or two tokens, [rows, tokens]: the first less the second, [rows, 1].

    Its sigmoid is the probability of the first token, if there are no others.
    """
    (output,) = model.outputs
    logits = output.get_node().input_value(0)
    weights = np.array([[1], [-1]], np.float32)[: logits.get_partial_shape()[1].get_length()]
    return _with_outputs(model, ops.matmul(logits, ops.constant(weights), False, False))


def token_output(model: Any) -> Any:
    """The vectors of the tokens, [rows, tokens, size], or [rows, size] if the model pools.

    As in Model Server: of several outputs, the first with three dimensions. Raises ValueError.
    """
    outputs = [output.get_node().input_value(0) for output in model.outputs]
    found = [output for output in outputs if _rank(output) == 3]
    if not found and len(outputs) == 1 and _rank(outputs[0]) == 2:
        if "logits" in model.outputs[0].get_names():
            raise ValueError("the output is logits: it is a classifier, which gives no vectors")
        found = outputs
    if not found:
        raise ValueError(
            f"Invalid embeddings tensor shape: the outputs are {_describe_outputs(model)}; an "
            "embedding model has one of 3 dimensions, or only one, of 2"
        )
    return found[0]


def add_tail(vectors: Any, layers: Sequence[DenseLayer], *, normalize: bool) -> Any:
    """Put what follows the pooling behind [rows, size]: layers, then the L2 norm."""
    vectors = ops.convert(vectors, "f32")
    for layer in layers:
        weights = ops.constant(np.ascontiguousarray(layer.weights, np.float32))
        vectors = ops.matmul(vectors, weights, False, True)
        if layer.bias is not None:
            vectors = ops.add(vectors, ops.constant(layer.bias.astype(np.float32)))
        vectors = ACTIVATIONS[layer.activation](vectors)
    if not normalize:
        return vectors
    return ops.normalize_l2(vectors, ops.constant(np.array([1], np.int64)), 1e-12, "max")


def _pool(vectors: Any, mask: Any, pooling: Pooling) -> Any:
    """[rows, tokens, size] -> [rows, size]; rows are padded on the right."""
    first_axis = ops.constant(np.array(1, np.int64))
    if pooling is Pooling.CLS:
        return ops.gather(vectors, ops.constant(np.array(0, np.int64)), first_axis)
    num_tokens = ops.reduce_sum(mask, first_axis, keep_dims=True)
    if pooling is Pooling.LAST:
        last = ops.subtract(num_tokens, ops.constant(np.array(1, np.int64)))
        found = ops.gather(vectors, last, first_axis, batch_dims=1)
        return ops.squeeze(found, first_axis)
    weights = ops.unsqueeze(ops.convert(mask, "f32"), ops.constant(np.array(2, np.int64)))
    total = ops.reduce_sum(ops.multiply(ops.convert(vectors, "f32"), weights), first_axis)
    return ops.divide(total, ops.convert(num_tokens, "f32"))


def _mask(model: Any) -> Any:
    """The attention mask as int64; the batcher always has one token of each row in it."""
    for parameter in model.get_parameters():
        if "attention_mask" in parameter.output(0).get_names():
            return ops.convert(parameter, "i64")
    raise ValueError("there is no input attention_mask, so padding cannot be told from tokens")


def _with_outputs(model: Any, *outputs: Any) -> Any:
    results = [ops.result(output) for output in outputs]
    return ov.Model(results, model.get_parameters(), model.get_friendly_name())


def _rank(output: Any) -> int | None:
    rank = output.get_partial_shape().rank
    return rank.get_length() if rank.is_static else None


def _describe_outputs(model: Any) -> str:
    found = (f"{sorted(port.get_names())[:1]} {port.get_partial_shape()}" for port in model.outputs)
    return ", ".join(found)
