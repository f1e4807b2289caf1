"""The memory of the KV cache: the layout that the compiled model states, and the tensors."""

import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.kv.kv_cache_manager import BlockCopy
from server.engine.system.huge_pages import prefer_huge_pages
from server.errors import ModelLoadError
from server.host.memory import RESERVATIONS

KV_TABLES = ("key_cache.", "value_cache.")
STATE_TABLES = ("conv_state_table.", "gated_delta_state_table.", "selective_ssm_state_table.")


@dataclass(frozen=True, slots=True)
class CacheInput:
    """An input that is a table of blocks: its element type and the dimensions of a block."""

    name: str
    element_type: ov.Type
    block_shape: tuple[int, ...]

    @property
    def block_bytes(self) -> int:
        """Bytes of one block; a u4 element is half a byte."""
        return int(np.prod(self.block_shape)) * int(self.element_type.bitwidth) // 8


def cache_inputs(compiled_model: Any) -> tuple[CacheInput, ...]:
    """The KV inputs of a compiled PagedAttention model, with the layout that the plugin chose."""
    return _tables(compiled_model, KV_TABLES)


def state_tables(compiled_model: Any) -> tuple[CacheInput, ...]:
    """The inputs that hold the states of convolutions and linear attention; most have none."""
    return _tables(compiled_model, STATE_TABLES)


def _tables(compiled_model: Any, prefixes: tuple[str, ...]) -> tuple[CacheInput, ...]:
    found = []
    for port in compiled_model.inputs:
        name = port.get_any_name()
        if name.startswith(prefixes):
            shape = tuple(dim.get_length() for dim in list(port.get_partial_shape())[1:])
            found.append(CacheInput(name, port.get_element_type(), shape))
    return tuple(found)


def bytes_per_block(inputs: tuple[CacheInput, ...]) -> int:
    """Bytes that one block takes over all layers."""
    return sum(cache_input.block_bytes for cache_input in inputs)


class HostKVCache:
    """KV tensors in host memory.

    The whole cache is reserved at once, as anonymous memory which takes no page until it is
    written, so nothing is ever grown or copied. Raises ModelLoadError if the system refuses it.
    """

    def __init__(self, inputs: tuple[CacheInput, ...], num_blocks: int) -> None:
        self.tensors: dict[str, ov.Tensor] = {}
        self._rows: list[npt.NDArray[np.uint8]] = []
        for cache_input in inputs:
            flat = np.frombuffer(_reserve(num_blocks * cache_input.block_bytes), np.uint8)
            shape = ov.Shape([num_blocks, *cache_input.block_shape])
            self.tensors[cache_input.name] = ov.Tensor(flat, shape, cache_input.element_type)
            self._rows.append(flat.reshape(num_blocks, cache_input.block_bytes))
        self._num_bytes = num_blocks * bytes_per_block(inputs)
        RESERVATIONS.add(self._num_bytes)

    def copy_blocks(self, copies: list[BlockCopy]) -> None:
        """Copy whole blocks, (source, destination) in this order, in every layer."""
        for rows in self._rows:
            for source, destination in copies:
                rows[destination] = rows[source]

    def clear_block(self, block: int) -> None:
        """Make a block all zeros."""
        for rows in self._rows:
            rows[block] = 0

    def close(self) -> None:
        """Give the memory back once nothing refers to the tensors any more."""
        self.tensors.clear()
        self._rows.clear()
        RESERVATIONS.remove(self._num_bytes)
        self._num_bytes = 0


def _reserve(num_bytes: int) -> mmap.mmap:
    # Private memory, unlike the shared one that mmap gives by default, can have huge pages.
    try:
        memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError, ValueError) as error:
        raise _refusal("system", num_bytes, error) from error
    prefer_huge_pages(memory)
    return memory


def _refusal(who: str, num_bytes: int, error: Exception) -> ModelLoadError:
    return ModelLoadError(
        f"the {who} refuses {num_bytes} bytes for a tensor of the KV cache ({error}); "
        "choose a smaller cache_size or num_kv_blocks"
    )


class DeviceKVCache:
    """KV tensors in the memory of a device other than the CPU, made by its remote context.

    Raises ModelLoadError if the device refuses the memory.
    """

    def __init__(
        self, inputs: tuple[CacheInput, ...], num_blocks: int, compiled_model: Any
    ) -> None:
        context = compiled_model.get_context()
        self.tensors: dict[str, Any] = {}
        for cache_input in inputs:
            shape = ov.Shape([num_blocks, *cache_input.block_shape])
            try:
                tensor = context.create_tensor(cache_input.element_type, shape, {})
            except RuntimeError as error:
                raise _refusal("device", num_blocks * cache_input.block_bytes, error) from error
            self.tensors[cache_input.name] = tensor

    def copy_blocks(self, copies: list[BlockCopy]) -> None:
        """Copy whole blocks, as HostKVCache does."""
        for tensor in self.tensors.values():
            for source, destination in copies:
                _remote_block(tensor, source).copy_to(_remote_block(tensor, destination))

    def clear_block(self, block: int) -> None:
        """Make a block all zeros."""
        for tensor in self.tensors.values():
            shape = ov.Shape([1, *list(tensor.get_shape())[1:]])
            zeros = ov.Tensor(tensor.get_element_type(), shape)
            zeros.data[:] = 0
            _remote_block(tensor, block).copy_from(zeros)

    def close(self) -> None:
        """Give the memory back once nothing refers to the tensors any more."""
        self.tensors.clear()


def _remote_block(tensor: Any, block: int) -> Any:
    """A view of one block of a remote tensor."""
    shape = list(tensor.get_shape())[1:]
    begin = ov.Coordinate([block, *[0] * len(shape)])
    return ov.RemoteTensor(tensor, begin, ov.Coordinate([block + 1, *shape]))
