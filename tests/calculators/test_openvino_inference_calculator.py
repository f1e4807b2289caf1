"""Models of any kind as nodes: their options, their ports, their requests."""

import asyncio
import re
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from support.openvino_models import add_model, counter_model, image_model, slow_model, write_model

from calculators.inference.inference_pool import InferencePool
from calculators.openvino_inference_calculator import (
    OpenVINOInferenceCalculator,
    OpenVINOInferenceCalculatorOptions,
)
from server.errors import InvalidRequestError, ModelLoadError
from server.graph import Services
from server.graph.testing import CalculatorRunner
from server.payloads import InferRequest, InferResponse
from server.tensors import ModelSignature, Tensor


def runner_of(folder: Path, **options: Any) -> CalculatorRunner:
    all_options = OpenVINOInferenceCalculatorOptions(".", device="CPU", **options)
    runner = CalculatorRunner(OpenVINOInferenceCalculator, all_options, base_path=folder)
    runner.open()
    return runner


def signature_of(folder: Path, **options: Any) -> ModelSignature:
    runner = runner_of(folder, **options)
    runner.close()
    signature = runner.output_side_packets["SIGNATURE"]
    assert isinstance(signature, ModelSignature)
    return signature


def floats(name: str, array: Any) -> Tensor:
    values = np.asarray(array, np.float32)
    return Tensor(name, "FP32", values.shape, values.tobytes())


async def ask(runner: CalculatorRunner, *inputs: Tensor) -> dict[str, Any]:
    """The outputs as arrays."""
    (response,) = (await runner.run({"INFER_REQUEST": [InferRequest(inputs)]}))["INFER_RESPONSE"]
    assert isinstance(response, InferResponse)
    return {
        tensor.name: np.frombuffer(tensor.data, np.float32).reshape(tensor.shape)
        for tensor in response.outputs
    }


def blobs_after_loading(folder: Path, cache_dir: Path, plugin_config: str = "") -> dict[str, int]:
    options = OpenVINOInferenceCalculatorOptions(".", device="CPU", plugin_config=plugin_config)
    services = Services(cache_dir=cache_dir)
    runner = CalculatorRunner(
        OpenVINOInferenceCalculator, options, base_path=folder, services=services
    )
    runner.open()
    runner.close()
    return {blob.name: blob.stat().st_mtime_ns for blob in cache_dir.glob("*.blob")}


def test_a_compiled_model_is_kept_in_the_cache_of_the_server(tmp_path: Path) -> None:
    write_model(tmp_path, add_model(), "adder")
    first = blobs_after_loading(tmp_path, tmp_path / "cache")
    assert len(first) == 1
    assert blobs_after_loading(tmp_path, tmp_path / "cache") == first, "it was read, not made anew"


def test_a_cache_that_the_graph_names_comes_first(tmp_path: Path) -> None:
    write_model(tmp_path, add_model(), "adder")
    named = f'{{"CACHE_DIR": "{tmp_path}/named"}}'
    assert blobs_after_loading(tmp_path, tmp_path / "cache", named) == {}
    assert len(list((tmp_path / "named").glob("*.blob"))) == 1


async def test_a_model_in_a_file_of_any_name(tmp_path: Path) -> None:
    write_model(tmp_path, add_model(), "adder")
    runner = runner_of(tmp_path)
    found = await ask(runner, floats("y", [[1, 2, 3]]), floats("x", [[4, 5, 6]]))
    runner.close()
    assert found["sum"].tolist() == [[5, 7, 9]]
    assert found["product"].tolist() == [[4, 10, 18]]


async def test_an_onnx_model(tmp_path: Path) -> None:
    (tmp_path / "adder.onnx").write_bytes(onnx_add_model())
    runner = runner_of(tmp_path)
    found = await ask(runner, floats("x", [1, 2]), floats("y", [3, 4]))
    runner.close()
    assert found["sum"].tolist() == [4, 6]


def onnx_add_model() -> bytes:
    """sum = x + y, each of two floats, in the wire format of ONNX's ModelProto."""

    def text(field: int, value: bytes) -> bytes:
        return bytes([field << 3 | 2, len(value)]) + value

    def number(field: int, value: int) -> bytes:
        return bytes([field << 3, value])

    tensor_type = text(1, number(1, 1) + text(2, text(1, number(1, 2))))
    x, y, total = (text(1, name) + text(2, tensor_type) for name in (b"x", b"y", b"sum"))
    node = text(1, b"x") + text(1, b"y") + text(2, b"sum") + text(4, b"Add")
    graph = text(1, node) + text(2, b"g") + text(11, x) + text(11, y) + text(12, total)
    return number(1, 8) + text(7, graph) + text(8, number(2, 13))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no model in it; possible: one file *.xml, *.onnx"),
        (["a.xml", "b.xml"], "several models: a.xml, b.xml; name one openvino_model.xml"),
        (["a.xml"], "a.xml: Unable to read the model"),
        (["a.onnx"], "a.onnx: Unable to read the model"),
    ],
)
def test_folders_without_a_model(tmp_path: Path, files: list[str], message: str) -> None:
    for name in files:
        (tmp_path / name).write_text("<no model/>")
    with pytest.raises(ModelLoadError, match=re.escape(message)):
        runner_of(tmp_path)
    with pytest.raises(ModelLoadError, match="no such file or folder"):
        runner_of(tmp_path / "nothing")


def test_a_type_that_kserve_does_not_have(tmp_path: Path) -> None:
    x = ops.parameter([2], ov.Type.u4, name="x")
    write_model(tmp_path, ov.Model([ops.convert(x, "f32")], [x], "m"))
    with pytest.raises(ModelLoadError, match="tensor 'x' has type u4, which KServe does not have"):
        runner_of(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "TPU"}, "cannot compile it for device 'TPU'"),
        ({"plugin_config": '{"NO_SUCH_KEY": "1"}'}, "NO_SUCH_KEY"),
        (
            {"shape": '{"z": "(1,3)"}'},
            "shape names 'z', which the model does not have; possible: x, y",
        ),
        ({"shape": "(1,3)"}, "shape is one text, but the model has the inputs x, y"),
        ({"shape": '{"x": "(1,4)"}'}, "openvino_model.xml: "),
        ({"layout": '{"x": "NHWC:NCHW"}'}, "openvino_model.xml: "),
        ({"layout": '{"z": "NC"}'}, "layout names 'z', which the model does not have"),
    ],
)
def test_options_that_the_model_or_the_device_refuses(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    write_model(tmp_path, add_model())
    all_options = {"device": "CPU", **options}
    runner = CalculatorRunner(
        OpenVINOInferenceCalculator,
        OpenVINOInferenceCalculatorOptions(".", **all_options),
        base_path=tmp_path,
    )
    with pytest.raises(ModelLoadError, match=re.escape(message)):
        runner.open()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": "(1,x)"}, "shape has the length 'x'"),
        ({"shape": "(1,0)"}, "shape has the length '0'"),
        ({"shape": "(3:2)"}, "shape has the length '3:2'"),
        ({"shape": '{"x": 5}'}, "shape has 'x': 5; it must be a name with a text"),
        ({"shape": "{x}"}, "shape is not JSON"),
        ({"batch_size": "many"}, "batch_size has the length 'many'"),
        ({"batch_size": "2", "shape": "(2)"}, "shape and batch_size are both there"),
        ({"layout": "NC/HW"}, "layout has 'NC/HW'"),
        ({"plugin_config": "[1]"}, "it must be a JSON object"),
        ({"nireq": 1025}, "nireq is 1025; possible: 0 to 1024"),
    ],
)
def test_options_that_cannot_be_understood(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        OpenVINOInferenceCalculatorOptions(".", **options)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (1, 3, 4, 5)),
        ({"shape": "(1,3,8,9)"}, (1, 3, 8, 9)),
        ({"shape": "[1, 3, -1, 2:9]"}, (1, 3, -1, -1)),
        ({"shape": '{"image": "auto"}'}, (-1, -1, -1, -1)),
        ({"batch_size": "7"}, (7, 3, 4, 5)),
        ({"batch_size": "auto"}, (-1, 3, 4, 5)),
        ({"batch_size": "0"}, (1, 3, 4, 5)),
        ({"layout": "NCHW", "batch_size": "2"}, (2, 3, 4, 5)),
        ({"layout": "HWCN:NCHW", "batch_size": "2"}, (4, 5, 3, 2)),
        ({"layout": "NHWC:NCHW", "shape": "(1,8,9,3)"}, (1, 8, 9, 3)),
    ],
)
def test_shapes(tmp_path: Path, options: dict[str, str], shape: tuple[int, ...]) -> None:
    signature = signature_of(write_model(tmp_path, image_model()), **options)
    assert signature.inputs[0].shape == shape


async def test_bounds_of_a_dimension_are_held(tmp_path: Path) -> None:
    runner = runner_of(write_model(tmp_path, add_model()), batch_size="2:3")
    for rows in (2, 3):
        ones = np.ones((rows, 3))
        found = await ask(runner, floats("x", ones), floats("y", ones))
        assert found["sum"].tolist() == [[2.0] * 3] * rows
    for rows in (1, 4):
        ones = np.ones((rows, 3))
        with pytest.raises(InvalidRequestError, match=re.escape("the model takes [2..3, 3]")):
            await ask(runner, floats("x", ones), floats("y", ones))
    runner.close()


async def test_layout_of_clients(tmp_path: Path) -> None:
    layouts = '{"image": "NHWC:NCHW", "scaled": "NHWC:NCHW"}'
    runner = runner_of(write_model(tmp_path, image_model()), layout=layouts)
    image = np.ones((1, 4, 5, 3), np.float32)
    found = (await ask(runner, floats("image", image)))["scaled"]
    runner.close()
    assert found.shape == (1, 4, 5, 3)
    assert found[0, 2, 2].tolist() == [1.0, 2.0, 3.0]


async def test_a_model_remembers_nothing_of_other_requests(tmp_path: Path) -> None:
    runner = runner_of(write_model(tmp_path, counter_model()), nireq=1)
    for _ in range(2):
        assert (await ask(runner, floats("x", [3])))["total"].tolist() == [3.0]
    runner.close()


async def test_a_request_without_elements(tmp_path: Path) -> None:
    runner = runner_of(write_model(tmp_path, add_model()))
    nothing = floats("x", np.ones((0, 3)))
    with pytest.raises(InvalidRequestError, match="every dimension must be at least 1"):
        await ask(runner, nothing, floats("y", np.ones((0, 3))))
    runner.close()


async def test_no_more_than_nireq_at_once(tmp_path: Path) -> None:
    folder = write_model(tmp_path, add_model())
    compiled = ov.Core().compile_model(ov.Core().read_model(folder / "openvino_model.xml"), "CPU")
    pool = InferencePool(compiled, 2, "test")
    barrier = threading.Barrier(2, timeout=60)
    running: list[object] = []
    most: list[int] = []

    def work(request: object) -> None:
        running.append(request)
        most.append(len(running))
        barrier.wait()
        running.remove(request)
        # Nobody else may enter before both have left.
        barrier.wait()

    await asyncio.gather(*(pool.run(work) for _ in range(6)))
    pool.close()
    assert max(most) == 2


async def test_cancelled_while_it_waits_and_while_it_runs(tmp_path: Path) -> None:
    runner = runner_of(write_model(tmp_path, slow_model()), nireq=1)
    size = 1500
    matrix = floats("x", np.zeros((size, size)))
    tasks = [asyncio.create_task(ask(runner, matrix)) for _ in range(3)]
    await asyncio.sleep(0.2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(30):
        assert (await ask(runner, floats("x", [[0.5]])))["power"].tolist() == [[0.0]]
    runner.close()


def test_tensors_check_themselves() -> None:
    with pytest.raises(ValueError, match="takes 8 bytes, found 4"):
        Tensor("x", "FP32", (2,), bytes(4))
    with pytest.raises(ValueError, match="datatype has over 100 characters"):
        Tensor("x", "F" * 101, (2,), bytes(2))
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        Tensor("x", "BOOL", (2,), b"\1\2")
    texts = Tensor("x", "BYTES", (2,), struct.pack("<I1sI", 1, b"a", 0))
    assert list(texts.elements()) == [b"a", b""]
