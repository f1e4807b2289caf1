"""Rounds the weights of an exported f32 model to f16, in its folder, except rotary frequencies.

optimum's own fp16 rounds the frequencies of rotary position embeddings too. Their error grows with
the position: with the usual ones, angles are wrong by 0.3 after 4,000 tokens. A process of its own,
like the converter; it imports nothing of this project.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import openvino as ov
from openvino import opset15 as ops
from openvino._offline_transformations import compress_model_transformation

# One model, or an encoder and a decoder.
MODEL_FILES = ("openvino_model.xml", "openvino_encoder_model.xml", "openvino_decoder_model.xml")
# What the transformation adds to the names of constants.
SUFFIX = "_compressed"


def main(folder: Path) -> None:
    """Replace the models in a folder by ones with f16 weights."""
    for path in map(folder.joinpath, MODEL_FILES):
        if path.is_file():
            _replace(path)


def _replace(path: Path) -> None:
    model = ov.Core().read_model(path)
    exact = {node.get_friendly_name(): node.data.copy() for node in _angle_constants(model)}
    compress_model_transformation(model)
    for node in list(_angle_constants(model)):
        data = exact.get(node.get_friendly_name().removesuffix(SUFFIX))
        if data is not None and node.get_output_element_type(0) == ov.Type.f16:
            constant = ops.constant(data).output(0)
            for target in node.output(0).get_target_inputs():
                # Its conversion back to f32.
                target.get_node().output(0).replace(constant)
    new = path.with_name(f"half_{path.name}")
    ov.save_model(model, new, compress_to_fp16=False)
    del model, exact  # They map the file that is replaced.
    new.with_suffix(".bin").replace(path.with_suffix(".bin"))
    new.replace(path)


def _angle_constants(model: ov.Model) -> Iterator[ov.Node]:
    """The constants of which the arguments of sine and cosine are computed."""
    waiting = [n for n in model.get_ordered_ops() if n.get_type_name() in ("Sin", "Cos")]
    seen = set()
    while waiting:
        for port in waiting.pop().inputs():
            node = port.get_source_output().get_node()
            if node.get_friendly_name() in seen:
                continue
            seen.add(node.get_friendly_name())
            waiting.append(node)
            if node.get_type_name() == "Constant" and node.get_output_element_type(0).is_real():
                yield node


if __name__ == "__main__":
    main(Path(sys.argv[1]))
