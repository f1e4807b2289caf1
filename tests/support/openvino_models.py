"""Small OpenVINO models, and the graph that serves one."""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

INFERENCE_GRAPH = """
input_stream: "INFER_REQUEST:request"
output_stream: "INFER_RESPONSE:response"
node {{
  name: "Model"
  calculator: "OpenVINOInferenceCalculator"
  input_stream: "INFER_REQUEST:request"
  output_stream: "INFER_RESPONSE:response"
  node_options: {{
    [type.googleapis.com/mediapipe.OpenVINOInferenceCalculatorOptions]: {{
      models_path: "." device: "CPU" {options}
    }}
  }}
}}
"""

DATATYPES = {
    "BOOL": ov.Type.boolean,
    "UINT8": ov.Type.u8,
    "UINT16": ov.Type.u16,
    "UINT32": ov.Type.u32,
    "UINT64": ov.Type.u64,
    "INT8": ov.Type.i8,
    "INT16": ov.Type.i16,
    "INT32": ov.Type.i32,
    "INT64": ov.Type.i64,
    "FP16": ov.Type.f16,
    "BF16": ov.Type.bf16,
    "FP32": ov.Type.f32,
    "FP64": ov.Type.f64,
    "BYTES": ov.Type.string,
}


def add_model() -> ov.Model:
    """x + y, of any number of rows of three; `sum` and `product` come out."""
    x = ops.parameter([-1, 3], np.float32, name="x")
    y = ops.parameter([-1, 3], np.float32, name="y")
    return _model([x, y], sum=ops.add(x, y), product=ops.multiply(x, y))


def identity_model() -> ov.Model:
    """An input of two dimensions for each datatype, which comes out with one more."""
    inputs = []
    outputs = {}
    for datatype, element_type in DATATYPES.items():
        parameter = ops.parameter([-1, -1], element_type, name=datatype.lower())
        inputs.append(parameter)
        outputs[f"{datatype.lower()}_out"] = ops.unsqueeze(parameter, [0])
    return _model(inputs, **outputs)


def half_plus_three_model() -> ov.Model:
    """x / 2 + 3, TensorFlow Serving's example."""
    x = ops.parameter([-1], np.float32, name="x")
    return _model([x], y=ops.add(ops.multiply(x, np.float32(0.5)), np.float32(3)))


def sensor_model() -> ov.Model:
    """The inputs of an example of TensorFlow Serving's, which come out with one more dimension."""
    inputs = [
        ops.parameter([-1], ov.Type.string, name="tag"),
        ops.parameter([-1, 5], np.float32, name="signal"),
        ops.parameter([-1, 2, 2], np.int32, name="sensor"),
    ]
    names = ("tag_bytes", "signals", "sensors")
    outputs = {name: ops.unsqueeze(each, [1]) for name, each in zip(names, inputs, strict=True)}
    return _model(inputs, **outputs)


def image_model() -> ov.Model:
    """Images of [1, 3, 4, 5]: each channel multiplied by its number."""
    image = ops.parameter([1, 3, 4, 5], np.float32, name="image")
    numbers = np.arange(1, 4, dtype=np.float32).reshape(1, 3, 1, 1)
    return _model([image], scaled=ops.multiply(image, numbers))


def logarithm_model() -> ov.Model:
    """log(x), which has no finite value for 0."""
    x = ops.parameter([-1], np.float32, name="x")
    return _model([x], log=ops.log(x))


def slow_model() -> ov.Model:
    """Square matrices multiplied with themselves many times."""
    matrix = ops.parameter([-1, -1], np.float32, name="x")
    power = matrix
    for _ in range(200):
        power = ops.matmul(power, matrix, transpose_a=False, transpose_b=False)
    return _model([matrix], power=power)


def counter_model() -> ov.Model:
    """Adds x to what it remembers, and gives out the sum."""
    x = ops.parameter([1], np.float32, name="x")
    variable = ops.read_value(ops.constant(np.zeros(1, np.float32)), "memory")
    total = ops.add(x, variable)
    sink = ops.assign(total, "memory")
    model = ov.Model([ops.result(total)], [sink], [x], "counter")
    model.outputs[0].set_names({"total"})
    return model


def write_model(folder: Path, model: ov.Model, name: str = "openvino_model") -> Path:
    """Save a model in a folder; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)
    return folder


def write_inference_graph(folder: Path, model: ov.Model, options: str = "") -> Path:
    """A model folder with a graph of one node; returns the folder."""
    write_model(folder, model)
    (folder / "graph.pbtxt").write_text(INFERENCE_GRAPH.format(options=options))
    return folder


def _model(inputs: list[ov.Node], **outputs: ov.Node) -> ov.Model:
    model = ov.Model(list(outputs.values()), inputs, "model")
    for port, name in zip(model.outputs, outputs, strict=True):
        port.set_names({name})
    return model
