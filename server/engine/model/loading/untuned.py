"""Properties of a model that is not tuned, by its weights and what the processor has."""

from collections.abc import Mapping, Set

import openvino as ov

from server.engine.config import PluginValue
from server.engine.model.device import Device
from server.engine.model.loading.graph_form import GraphForm
from server.host.cpu_features import has_int8_amx

__all__ = ["GROUP_SIZE", "PRECISION_PROPERTIES", "ROW_WISE", "has_int8_matrices", "set_untuned"]

GROUP_SIZE = "DYNAMIC_QUANTIZATION_GROUP_SIZE"

PRECISION_PROPERTIES: Set[str] = {"INFERENCE_PRECISION_HINT", "EXECUTION_MODE_HINT"}

ROW_WISE = "65536"
"""A group size that covers any row: dynamic quantisation with one scale for each token.

The CPU plugin's fused MLPs, which it has on AMX for symmetric int8 weights, need it.
"""


def set_untuned(
    form: GraphForm, device: Device, stated: Mapping[str, PluginValue]
) -> dict[str, PluginValue]:
    """The stated properties, and what surely pays for a model that writes text.

    That is row-wise quantisation of activations for symmetric int8 weights on AMX. Which others
    pay depends on the number of sequences and the sizes of the model: tuning measures it.
    """
    writes = form.attention is not None and form.parts.num_embeddings is None
    is_open = stated.keys().isdisjoint({GROUP_SIZE, *PRECISION_PROPERTIES})
    is_sure = device.can_be_tuned and has_int8_amx() and has_int8_matrices(form)
    return {**({GROUP_SIZE: ROW_WISE} if writes and is_open and is_sure else {}), **stated}


def has_int8_matrices(form: GraphForm) -> bool:
    """Whether weights are int8 and symmetric."""
    return any(
        node.get_type_name() == "Constant"
        and node.get_element_type() == ov.Type.i8
        and len(node.get_output_shape(0)) == 2
        for node in form.parts.layers.get_ops()
    )
