"""All that differs for the engine between the CPU and other devices, that is GPUs."""

import logging
from collections.abc import Iterator, Mapping
from typing import ClassVar

import openvino as ov

from server.engine.config import PluginValue
from server.engine.kv.kv_cache import CacheInput, DeviceKVCache, HostKVCache
from server.engine.model.single_thread import with_safe_precision
from server.engine.system.huge_pages import collapse_pages
from server.errors import ModelLoadError
from server.host.cpu_features import has_vnni
from server.host.memory import MEMORY_BUDGET, RESERVATIONS, available_bytes
from server.host.openvino_core import default_device, shared_core
from server.host.openvino_errors import error_summary

logger = logging.getLogger(__name__)

CPU_BLOCK_SIZE = 32

SPARSITY_PROPERTY = "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"
LEAST_SPARSITY = 0.5
"""The share of zeros from which on int8 weights are kept compressed in memory.

The CPU plugin applies it, on AMX only, to weights that are multiplied by int8 activations. At 80%
of zeros decoding takes 0.85 to 0.9 of the time, at 50% 0.97 to 1.01, at 30% 1.02 to 1.06, by
demos/benchmark/sparse_weights.py. plugin_config may state another value.
"""

Properties = Mapping[str, PluginValue]


def find_device(name: str) -> "Device":
    """The device of this name; for the empty string a GPU if there is one, else the CPU."""
    name = name or default_device()
    return CpuDevice(name) if name == "CPU" else Device(name)


class Device:
    """A device other than the CPU, by its OpenVINO name, for example GPU or GPU.1."""

    can_be_tuned = False
    default_properties: ClassVar[Properties] = {}
    """Used unless plugin_config states another value."""
    drafting_properties: ClassVar[Properties] = {}
    """The same where tokens are guessed: the cache must hold each token for itself."""

    def __init__(self, name: str) -> None:
        self.name = name

    def compile_properties(self, core: ov.Core, plugin_config: Properties) -> Properties:
        """The properties to compile a model with. Raises ModelLoadError."""
        return plugin_config

    def quantizes_head(self, layers: ov.CompiledModel) -> bool:
        """Whether `quantize_rows` makes the output head faster, and the settings allow it."""
        return False

    def block_size(self, kv_inputs: tuple[CacheInput, ...]) -> int:
        """Tokens in one KV block: 16 on a GPU, 256 with XAttention.

        A value cache is [blocks, heads, tokens, head size] and a key cache [blocks, heads, head
        size, tokens], with XAttention like a value cache (openvino, paged_attention_gpu_test.cpp).
        """
        return next(i.block_shape[1] for i in kv_inputs if i.name.startswith("value_cache."))

    def free_bytes(self) -> int:
        """Memory that a KV cache may take. Raises ModelLoadError if it is unknown."""
        core = shared_core()
        try:
            return int(core.get_property(self.name, "GPU_DEVICE_TOTAL_MEM_SIZE"))
        except RuntimeError as error:
            raise ModelLoadError(
                f"device {self.name!r} does not report its memory, which sizes the KV cache; name "
                f"one device of {', '.join(core.available_devices)}: {error_summary(error)}"
            ) from error

    def make_kv_cache(
        self, kv_inputs: tuple[CacheInput, ...], num_blocks: int, layers: ov.CompiledModel
    ) -> HostKVCache | DeviceKVCache:
        """Reserve the memory of a KV cache. Raises ModelLoadError where there is too little."""
        return DeviceKVCache(kv_inputs, num_blocks, layers)

    def sampling_properties(self, layers: ov.CompiledModel) -> Properties:
        """The CPU plugin's properties for the small graphs of `VocabTiles`."""
        return {}

    def arrange_memory(self) -> Iterator[object]:
        """Arrange the memory of a model that has run its first steps, a short piece at a time."""
        return iter(())


class CpuDevice(Device):
    """The CPU, with the KV cache in the memory of this process."""

    can_be_tuned = True
    default_properties: ClassVar[Properties] = {SPARSITY_PROPERTY: LEAST_SPARSITY}
    drafting_properties: ClassVar[Properties] = {"KEY_CACHE_QUANT_MODE": "BY_TOKEN"}

    def compile_properties(self, core: ov.Core, plugin_config: Properties) -> Properties:
        """The stated properties, without those that the plugin cannot use or would fail with."""
        properties = dict(plugin_config)
        if properties.pop("CACHE_DIR", ""):
            # The plugin would write it at every start and never read it: the head sizes that it
            # needs are run-time information of the nodes, which is not stored.
            logger.debug("CACHE_DIR has no effect: OpenVINO cannot store such a model for the CPU")
        return with_safe_precision(core, properties)

    def quantizes_head(self, layers: ov.CompiledModel) -> bool:
        """Whether the settings ask for int8 rows where the plugin would multiply in bf16.

        In f32 the plugin quantises rows by itself.
        """
        hidden_size = layers.output(0).get_partial_shape()[-1].get_length()
        group_size = int(layers.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE"))
        is_bf16 = layers.get_property("INFERENCE_PRECISION_HINT") == ov.Type.bf16
        return bool(is_bf16 and group_size >= hidden_size and has_vnni())

    def block_size(self, kv_inputs: tuple[CacheInput, ...]) -> int:
        """32, which the plugin asserts; by-channel quantisation lengthens the token dimension."""
        return CPU_BLOCK_SIZE

    def free_bytes(self) -> int:
        """Memory of the system or container, without what other KV caches have reserved.

        With a memory budget it is at most what is left of that.
        """
        return max(0, MEMORY_BUDGET.limit(available_bytes() - RESERVATIONS.total_bytes))

    def make_kv_cache(
        self, kv_inputs: tuple[CacheInput, ...], num_blocks: int, layers: ov.CompiledModel
    ) -> HostKVCache | DeviceKVCache:
        """Reserve host memory."""
        return HostKVCache(kv_inputs, num_blocks)

    def sampling_properties(self, layers: ov.CompiledModel) -> Properties:
        """As many threads as the model has."""
        name = "INFERENCE_NUM_THREADS"
        return {name: layers.get_property(name)}

    def arrange_memory(self) -> Iterator[object]:
        """Put the weights into huge pages, where the system has them."""
        return collapse_pages()
