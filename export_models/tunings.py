"""Plugin properties with which this machine's CPU runs a model's weights fastest."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from server.host.cpu_features import has_int8_amx
from server.host.model_files import text_model_file

__all__ = ["Tuning", "find_tunings", "weight_precision"]

FOUR_BITS = frozenset({"i4", "u4", "nf4"})
# More columns than any layer has: each group of the dynamic quantisation is a whole row then.
WHOLE_ROW = 65_536


@dataclass(frozen=True)
class Tuning:
    """A property of the plugin, and why this model needs it."""

    name: str
    value: object
    reason: str


FUSED_MLP = Tuning(
    "DYNAMIC_QUANTIZATION_GROUP_SIZE",
    WHOLE_ROW,
    "AMX multiplies int8 weights with one scale per output channel in int8, and runs each MLP as "
    "one kernel, if activations are quantised row by row",
)


def find_tunings(model_folder: Path, device: str) -> list[Tuning]:
    """The properties for the weights in a model's file.

    Without AMX a prompt would take up to three times as long with them.
    """
    if device != "CPU" or not has_int8_amx():
        return []
    num_matrices = _count_matrices(text_model_file(model_folder))
    is_int8 = num_matrices["i8"] > 0 and not FOUR_BITS & num_matrices.keys()
    return [FUSED_MLP] if is_int8 else []


def weight_precision(xml: Path) -> int:
    """The bits of the coarsest weights in a model's file: 4, 8, 16 or 32."""
    found = _count_matrices(xml).keys()
    for bits, types in ((4, FOUR_BITS), (8, {"i8", "u8"}), (16, {"f16", "bf16"})):
        if types & found:
            return bits
    return 32


def _count_matrices(xml: Path) -> Counter[str]:
    """The number of constant matrices by element type; scales and vectors are none."""
    matrices: Counter[str] = Counter()
    layer_type = ""
    for event, element in ElementTree.iterparse(xml, ("start", "end")):
        if event == "end":
            element.clear()
        elif element.tag == "layer":
            layer_type = element.get("type", "")
        elif element.tag == "data" and layer_type == "Const":
            sizes = [size for size in element.get("shape", "").split(",") if size.strip() != "1"]
            if len(sizes) > 1:
                matrices[element.get("element_type", "")] += 1
    return matrices
