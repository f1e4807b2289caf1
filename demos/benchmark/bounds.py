"""The lower bound of a step's time: reading the weights, and computing the products.

Both rates are measured on the machine at hand; the sizes come from the IR.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

# Far more than all caches.
BUFFER_BYTES = 2**30
# Rows and the size of the square weights; which of them runs fastest differs by precision.
GEMM_SHAPES = ((512, 4096), (2048, 2048))
NUM_REPEATS = 5
# Operations between a weight and its product.
DECOMPRESSION = {"Convert", "Multiply", "Subtract", "Reshape"}


@dataclass(frozen=True)
class MachineRates:
    """Bytes per second that all processors read, and operations per second of matrix products."""

    read_bytes_per_s: float
    bf16_flops: float
    int8_flops: float

    @property
    def flops(self) -> float:
        """The faster product: a bound must hold for every format."""
        return max(self.bf16_flops, self.int8_flops)


@dataclass(frozen=True)
class ModelSizes:
    """Bytes of all weights that are multiplied, and their numbers in the layers and in the head."""

    weight_bytes: int
    num_layer_weights: int
    num_head_weights: int

    def bound_by_reading_s(self, rates: MachineRates) -> float:
        """Seconds to read every weight once."""
        return self.weight_bytes / rates.read_bytes_per_s

    def bound_by_products_s(self, rates: MachineRates, num_tokens: int, num_sampled: int) -> float:
        """Seconds of the products with the weights; attention is left out."""
        products = self.num_layer_weights * num_tokens + self.num_head_weights * num_sampled
        return 2 * products / rates.flops


def measure_rates() -> MachineRates:
    """Measure all rates; takes seconds."""
    bf16, int8 = (
        max(measure_gemm_rate(*shape, is_int8=is_int8) for shape in GEMM_SHAPES)
        for is_int8 in (False, True)
    )
    return MachineRates(measure_read_rate(), bf16, int8)


def measure_read_rate(num_bytes: int = BUFFER_BYTES) -> float:
    """Bytes per second that one thread for each processor reads together."""
    num_threads = os.cpu_count() or 1
    parts = np.array_split(np.ones(num_bytes // 8, dtype=np.int64), num_threads)
    with ThreadPoolExecutor(num_threads) as pool:
        # numpy lets go of Python's lock in a reduction.
        return num_bytes / _best_time_s(lambda: list(pool.map(np.bitwise_or.reduce, parts)))


def measure_gemm_rate(rows: int, size: int, *, is_int8: bool) -> float:
    """Operations per second of a large product in OpenVINO.

    In int8 both sides are quantised as in a W8A8 model, the form that reaches the matrix units.
    """
    import openvino as ov
    from openvino import opset13 as ops

    rows_in = ops.parameter([rows, size], np.float32)
    left = rows_in
    if is_int8:
        low, high = (ops.constant(np.float32(limit)) for limit in (-1.28, 1.27))
        left = ops.fake_quantize(rows_in, low, high, low, high, 256)
        weights = ops.convert(ops.constant(np.ones((size, size), dtype=np.int8)), np.float32)
        right = ops.multiply(weights, ops.constant(np.full((size, 1), 0.01, dtype=np.float32)))
    else:
        right = ops.convert(ops.constant(np.ones((size, size), dtype=np.float16)), np.float32)
    model = ov.Model([ops.matmul(left, right, False, True)], [rows_in])
    properties = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "LATENCY"}
    request = ov.Core().compile_model(model, "CPU", properties).create_infer_request()
    request.set_input_tensor(ov.Tensor(np.ones((rows, size), dtype=np.float32)))
    return 2 * rows * size * size / _best_time_s(request.infer)


def _best_time_s(work: Callable[[], Any]) -> float:
    times_s = []
    for _ in range(NUM_REPEATS):
        started = perf_counter()
        work()
        times_s.append(perf_counter() - started)
    return min(times_s)


def read_model_sizes(model_path: Path) -> ModelSizes:
    """Count the weights of an IR that are multiplied; an embedding is only looked up."""
    import openvino as ov

    model = ov.Core().read_model(model_path / "openvino_model.xml")
    logits = model.output("logits").get_node().input_value(0).get_node()
    while logits.get_type_name() == "Convert":
        logits = logits.input_value(0).get_node()
    num_bytes = {False: 0, True: 0}
    num_weights = {False: 0, True: 0}
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        is_head = node.get_friendly_name() == logits.get_friendly_name()
        constants = list(_iter_constants(node.input_value(1).get_node()))
        num_bytes[is_head] += sum(constant.get_byte_size() for constant in constants)
        num_weights[is_head] += max((np.prod(one.shape) for one in constants), default=0)
    return ModelSizes(sum(num_bytes.values()), int(num_weights[False]), int(num_weights[True]))


def _iter_constants(node: Any) -> Iterator[Any]:
    """The weight of a product with its scales; nothing if it multiplies two activations."""
    if node.get_type_name() == "Constant":
        yield node
    elif node.get_type_name() in DECOMPRESSION:
        for index in range(node.get_input_size()):
            yield from _iter_constants(node.input_value(index).get_node())
