"""How coarse the weights in a model's file are."""

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

__all__ = ["weight_precision"]

FOUR_BITS = frozenset({"i4", "u4", "nf4"})


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
