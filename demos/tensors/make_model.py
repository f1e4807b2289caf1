"""Writes models/half_plus_three, TensorFlow Serving's example, as an OpenVINO model: x / 2 + 3."""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

x = ops.parameter([-1], np.float32, name="x")
y = ops.add(ops.multiply(x, np.float32(0.5)), np.float32(3))
model = ov.Model([y], [x], "half_plus_three")
model.outputs[0].set_names({"y"})

folder = Path("models/half_plus_three/1")
folder.mkdir(parents=True, exist_ok=True)
ov.save_model(model, folder / "openvino_model.xml", compress_to_fp16=False)
print(f"wrote {folder}")
