"""Keeps a model away from a division by zero in OpenVINO, which would end the process."""

import logging
from collections.abc import Mapping

import openvino as ov
from openvino import opset13 as ops

from server.engine.config import PluginValue
from server.errors import ModelLoadError

logger = logging.getLogger(__name__)

HINT = "INFERENCE_PRECISION_HINT"


def with_safe_precision(
    core: ov.Core, device: str, properties: Mapping[str, PluginValue]
) -> dict[str, PluginValue]:
    """The properties, with f32 as the precision where a stream has one thread only.

    The CPU plugin shares the fused MLPs, which it makes for bf16 on AMX, out to half of a stream's
    threads (OpenVINO 2026.4): on one thread compiling raises SIGFPE. Raises ModelLoadError where
    the user insists on bf16.
    """
    if not device.startswith("CPU"):
        return dict(properties)
    data = ops.parameter([1], ov.Type.f32)
    asked = {name: value for name, value in properties.items() if name != "CACHE_DIR"}
    try:
        probe = core.compile_model(ov.Model([ops.relu(data)], [data]), device, asked)
    except RuntimeError:
        # The model itself will fail in the same way, and the error say of what.
        return dict(properties)
    num_threads = probe.get_property("INFERENCE_NUM_THREADS")
    is_single = num_threads // max(1, probe.get_property("NUM_STREAMS")) < 2
    if not is_single or probe.get_property(HINT) != ov.Type.bf16:
        return dict(properties)
    if HINT in properties:
        raise ModelLoadError(
            f"plugin_config has {HINT} {properties[HINT]}, on one thread for each stream: this "
            "version of OpenVINO breaks down there; leave it out or state f32, or give "
            "INFERENCE_NUM_THREADS at least 2 for each of NUM_STREAMS"
        )
    logger.info("one thread for each stream: %s is f32, as bf16 would need two", HINT)
    return {**properties, HINT: "f32"}
