"""Which of the processor's matrix units a compiled model really uses."""

from collections import Counter

import openvino as ov

MATRIX_PRODUCTS = frozenset({"FullyConnected", "MatMul"})
FUSED_MLP = "LLMMLP"


def describe_kernels(parts: list[ov.CompiledModel]) -> dict[str, int | bool]:
    """Count the matrix products by their kernels and the fused MLPs.

    `is_amx_used` is whether any runs on AMX: the fused MLPs are made of nothing else. Reads the
    runtime model of OpenVINO, which knows the kernels of the last step only, so that a step of some
    size must have run: single rows have kernels of their own.
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
