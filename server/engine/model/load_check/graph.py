"""What a graph in PagedAttention form computes in each layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.model.load_check.layer_attention import LayerAttention
from server.host.openvino_core import shared_core

__all__ = [
    "CHUNK_PREFIX",
    "SLOPES",
    "WINDOW",
    "attention_operations",
    "found_layers",
    "is_empty",
    "layer_of",
]

Values = npt.NDArray[Any]
NOTHING: Values = np.zeros(0)

OP_TYPE = "PagedAttentionExtension"
# Inputs of the operation (openvino, PagedAttentionExtension).
KEY_CACHE, PAST_LENS, SCALE, WINDOW, SLOPES, SINKS = 3, 5, 9, 10, 11, 20

CHUNK_PREFIX = "chunk."
"""Names of inputs that only layers with chunked attention have begin so."""


def attention_operations(model: ov.Model) -> list[ov.Node]:
    """All PagedAttention operations."""
    return [node for node in model.get_ordered_ops() if node.get_type_name() == OP_TYPE]


def layer_of(operation: ov.Node) -> int:
    """The number of the operation's KV cache."""
    name = operation.input_value(KEY_CACHE).get_node().get_friendly_name()
    return int(name.removeprefix("key_cache."))


def found_layers(operations: Sequence[ov.Node], chunk_size: int | None) -> list[LayerAttention]:
    """The attention of each operation; layers with chunks have those of `chunk_size` tokens."""
    inputs = (SCALE, WINDOW, SLOPES)
    ports = [operation.input_value(index) for operation in operations for index in inputs]
    values = iter(_constant_values(ports))
    return [
        LayerAttention(
            scale=_number(next(values)),
            window=_window(next(values)),
            slopes=_slopes(next(values)),
            chunk=chunk_size if _is_chunked(operation) else 0,
            has_sinks=not is_empty(operation.input_value(SINKS)),
        )
        for operation in operations
    ]


def is_empty(port: ov.Output) -> bool:
    """Whether a value certainly has no elements: this is how an input is left out."""
    shape = port.get_partial_shape()
    return bool(shape.is_static and 0 in shape.to_shape())


def _is_chunked(operation: ov.Node) -> bool:
    name = operation.input_value(PAST_LENS).get_node().get_friendly_name()
    return bool(name.startswith(CHUNK_PREFIX))


def _constant_values(ports: Sequence[ov.Output]) -> list[Values | None]:
    """The values of expressions of constants; None for what depends on the model's inputs."""
    fixed = [port for port in ports if not is_empty(port) and _is_constant(port.get_node())]
    computed = dict(zip(map(_key, fixed), _compute(fixed), strict=True))
    return [NOTHING if is_empty(port) else computed.get(_key(port)) for port in ports]


def _key(port: ov.Output) -> tuple[str, int]:
    return port.get_node().get_name(), port.get_index()


def _is_constant(node: ov.Node) -> bool:
    waiting, known = [node], {node.get_name()}
    while waiting:
        following = waiting.pop()
        if following.get_type_name() in ("Parameter", "ReadValue"):
            return False
        for port in following.input_values():
            if port.get_node().get_name() not in known:
                known.add(port.get_node().get_name())
                waiting.append(port.get_node())
    return True


def _compute(ports: Sequence[ov.Output]) -> list[Values]:
    if not ports:
        return []
    properties = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = shared_core().compile_model(ov.Model(list(ports), []), "CPU", properties)
    request = compiled.create_infer_request()
    request.infer({})
    return [np.array(request.get_output_tensor(i).data) for i in range(len(ports))]


def _window(value: Values | None) -> int | None:
    # The operation takes a window of 0 as none.
    return None if value is None else int(value.ravel()[0]) if value.size else 0


def _slopes(value: Values | None) -> tuple[float, ...] | None:
    return None if value is None else tuple(map(float, value.ravel()))


def _number(value: Values | None) -> float | None:
    return None if value is None or value.size != 1 else float(value.ravel()[0])
