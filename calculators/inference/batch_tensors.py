"""The tensors of several requests as those of one, and its answer as theirs."""

from collections.abc import Hashable, Sequence
from itertools import islice
from typing import Any

import openvino as ov

from calculators.inference.model_ports import ModelPorts
from server.errors import ModelLoadError
from server.tensors import Tensor, join_elements

__all__ = ["batch_key", "check_can_batch", "join_rows", "num_bytes_of", "num_rows_of", "split_rows"]


def check_can_batch(ports: ModelPorts, max_batch_size: int, *, has_state: bool) -> None:
    """Raise ModelLoadError for a model whose requests cannot be run as the rows of one."""
    problem = "it has a state, which belongs to one caller" if has_state else None
    for kind, ports_of_kind in (("input", ports.inputs), ("output", ports.outputs)):
        for port in ports_of_kind:
            if problem is None and not _has_room(port.shape, port.layout, max_batch_size):
                problem = (
                    f"{kind} {port.info.name!r} has shape {port.shape} and layout {port.layout}; "
                    f"its first dimension must be a batch of 1 to {max_batch_size}"
                )
    if problem is not None:
        raise ModelLoadError(f"max_batch_size is {max_batch_size}, but the model cannot: {problem}")


def _has_room(shape: Any, layout: str, max_batch_size: int) -> bool:
    if shape.rank.is_dynamic or len(shape) == 0 or shape[0].is_static:
        return False
    has_batch_elsewhere = "N" in layout and not layout.startswith("[N")
    return not has_batch_elsewhere and bool(shape[0].compatible(ov.Dimension(max_batch_size)))


def num_bytes_of(tensors: Sequence[Tensor]) -> int:
    """About how many bytes the tensors of a request have."""
    return sum(len(tensor.data) for tensor in tensors)


def num_rows_of(tensors: Sequence[Tensor]) -> int | None:
    """The number of rows of a request; None where its tensors have no one number."""
    rows = {tensor.shape[0] if tensor.shape else None for tensor in tensors}
    return rows.pop() if len(rows) == 1 else None


def batch_key(tensors: Sequence[Tensor]) -> Hashable:
    """What requests must have in common to be rows of one."""
    return tuple(tensor.shape[1:] for tensor in tensors)


def join_rows(requests: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The tensors of all requests, one below the other; each has the same inputs in one order."""
    joined = []
    for tensors in zip(*requests, strict=True):
        first = tensors[0]
        num_rows = sum(tensor.shape[0] for tensor in tensors)
        data = b"".join(tensor.data for tensor in tensors)
        joined.append(Tensor(first.name, first.datatype, (num_rows, *first.shape[1:]), data))
    return joined


def split_rows(tensor: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """The rows of each request. Raises ValueError if there are more rows or fewer."""
    num_rows = sum(counts)
    if not tensor.shape or tensor.shape[0] != num_rows:
        raise ValueError(f"{tensor.name} has shape {tensor.shape}, not {num_rows} rows")
    split = []
    elements = tensor.elements() if tensor.datatype == "BYTES" else None
    row_size = len(tensor.data) // num_rows
    start = 0
    for count in counts:
        if elements is not None:
            size = count * tensor.num_elements // num_rows
            data = join_elements(islice(elements, size))
        else:
            data = bytes(tensor.data[start : start + count * row_size])
        start += count * row_size
        split.append(Tensor(tensor.name, tensor.datatype, (count, *tensor.shape[1:]), data))
    return split
