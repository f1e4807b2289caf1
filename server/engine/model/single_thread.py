"""Avoids a division by zero in OpenVINO's fused MLP, which would end the process."""

import logging
from collections.abc import Mapping

import openvino as ov
from openvino import opset13 as ops

from server.engine.config import PluginValue
from server.errors import ModelLoadError
from server.host.cpu_features import has_int8_amx

logger = logging.getLogger(__name__)

HINT = "INFERENCE_PRECISION_HINT"


def with_safe_precision(
    core: ov.Core, properties: Mapping[str, PluginValue]
) -> Mapping[str, PluginValue]:
    """The properties, with f32 where a CPU with AMX has one thread for each stream.

    On AMX, in bf16, the CPU plugin fuses MLPs, and gives each fused MLP half of a stream's threads
    (OpenVINO 2026.4): with one thread compiling raises SIGFPE. Raises ModelLoadError where the
    user insists on bf16.
    """
    if not has_int8_amx():
        return properties
    data = ops.parameter([1], ov.Type.f32)
    try:
        probe = core.compile_model(ov.Model([ops.relu(data)], [data]), "CPU", dict(properties))
    except RuntimeError:
        # The model will fail in the same way, and its error will name the property.
        return properties
    num_threads = probe.get_property("INFERENCE_NUM_THREADS")
    is_single = num_threads // max(1, probe.get_property("NUM_STREAMS")) < 2
    if not is_single or probe.get_property(HINT) != ov.Type.bf16:
        return properties
    if HINT in properties:
        raise ModelLoadError(
            f"plugin_config has {HINT} {properties[HINT]}, and one thread for each stream; this "
            "version of OpenVINO fails there on AMX; leave it out or state f32, or give "
            "INFERENCE_NUM_THREADS at least 2 for each of NUM_STREAMS"
        )
    logger.debug("one thread for each stream: %s is f32, as bf16 needs two on AMX", HINT)
    return {**properties, HINT: "f32"}
