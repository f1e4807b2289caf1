"""Writes the model of the graph `letters`: counts of letters in, two scores out."""

import sys
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops


def make_model() -> ov.Model:
    """counts [N, 26] -> scores [N, 2]: consonants, vowels."""
    is_vowel = np.array([letter in "aeiou" for letter in "abcdefghijklmnopqrstuvwxyz"])
    weights = np.stack([~is_vowel, is_vowel], axis=1).astype(np.float32)
    counts = ops.parameter([-1, 26], np.float32, name="counts")
    scores = ops.matmul(counts, ops.constant(weights), transpose_a=False, transpose_b=False)
    model = ov.Model([ops.result(scores)], [counts], "vowel_model")
    model.inputs[0].set_names({"counts"})
    model.outputs[0].set_names({"scores"})
    return model


if __name__ == "__main__":
    folder = Path(sys.argv[1]) / "vowel_model" / "1"
    folder.mkdir(parents=True, exist_ok=True)
    ov.save_model(make_model(), folder / "model.xml")
