"""Which kernels a compiled model really uses, and whether they run on AMX."""

from collections import Counter

import openvino as ov

MATRIX_PRODUCTS = frozenset({"FullyConnected", "MatMul"})
FUSED_MLP = "LLMMLP"


def describe_kernels(parts: list[ov.CompiledModel]) -> dict[str, int | bool]:
    """Count the fused MLPs, and the matrix products by kernel.

    `is_amx_used` tells whether any of them runs on AMX; fused MLPs always do. OpenVINO's runtime
    model knows the kernels of the last step only, and single rows have other kernels, so a step of
    some size must have run.
    """
    kernels: Counter[str] = Counter()
    num_fused = 0
    for compiled in parts:
        for node in compiled.get_runtime_model().get_ops():
            info = node.get_rt_info()
            layer_type = _text(info, "layerType")
            num_fused += layer_type == FUSED_MLP
            if layer_type in MATRIX_PRODUCTS:
                kernels[_text(info, "primitiveType")] += 1
    is_amx_used = num_fused > 0 or any("amx" in kernel for kernel in kernels)
    return {"is_amx_used": is_amx_used, "fused_mlps": num_fused, **kernels}


def _text(info: ov.RTMap, key: str) -> str:
    return str(info[key].astype(str)) if key in info else ""
