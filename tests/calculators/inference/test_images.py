"""Encoded images as inputs of models, compared with OpenCV."""

import base64
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from PIL import Image
from support.infer_calls import infer_ok, post_binary, tensor
from support.openvino_models import write_model
from support.python_graphs import serving

from calculators.openvino_inference_calculator import (
    OpenVINOInferenceCalculator,
    OpenVINOInferenceCalculatorOptions,
)
from server.errors import InvalidRequestError
from server.graph.testing import CalculatorRunner
from server.payloads import InferRequest
from server.tensors import Tensor, join_elements

cv2 = pytest.importorskip("cv2")


def identity(shape: list[Any], dtype: Any) -> ov.Model:
    image = ops.parameter(ov.PartialShape(shape), dtype, name="image")
    model = ov.Model([ops.result(ops.concat([image], 0))], [image], "identity")
    model.inputs[0].set_names({"image"})
    model.outputs[0].set_names({"pixels"})
    return model


# In OpenVINO's terms: -1 is any length, a pair a range.
MODELS: dict[str, tuple[ov.Model, str]] = {
    "fixed": (identity([-1, 24, 32, 3], np.float32), ""),
    "bytes": (identity([-1, 24, 32, 3], np.uint8), "NHWC"),
    "range": (identity([1, "100..200", "20..200", 3], np.uint8), ""),
    "any": (identity([-1, -1, -1, -1], np.uint8), ""),
    "grey": (identity([-1, 24, 32, 1], np.float32), ""),
    "first": (identity([-1, 3, 24, 32], np.float32), ""),
    "turned": (identity([-1, 3, 24, 32], np.float32), "NHWC:NCHW"),
    "nchw": (identity([-1, 3, 24, 32], np.float32), "NCHW"),
    "five": (identity([-1, 1, 24, 32, 3], np.float32), "N?HWC"),
    "flat": (identity([-1, 3], np.float32), ""),
}


class Models:
    """The models, each of which is loaded when it is first used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runners: dict[str, CalculatorRunner] = {}

    async def ask(self, name: str, data: Tensor) -> Any:
        """The pixels that a model gets."""
        runner = self._runners.get(name) or self._load(name)
        (answer,) = (await runner.run({"INFER_REQUEST": [InferRequest((data,))]}))["INFER_RESPONSE"]
        (output,) = answer.outputs
        dtype = {"FP32": np.float32, "UINT8": np.uint8}[output.datatype]
        return np.frombuffer(output.data, dtype).reshape(output.shape)

    def close(self) -> None:
        """Free them."""
        for runner in self._runners.values():
            runner.close()

    def _load(self, name: str) -> CalculatorRunner:
        model, layout = MODELS[name]
        write_model(self._folder / name, model, name)
        options = OpenVINOInferenceCalculatorOptions(name, device="CPU", layout=layout, nireq=1)
        runner = CalculatorRunner(OpenVINOInferenceCalculator, options, base_path=self._folder)
        runner.open()
        self._runners[name] = runner
        return runner


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    found = Models(tmp_path_factory.mktemp("models"))
    yield found
    found.close()


def smooth(height: int, width: int, channels: int = 3) -> Any:
    """Pixels whose neighbours differ, and by more than a resize may be off."""
    random = np.random.default_rng(height)
    return random.integers(0, 256, (height, width, channels), np.uint8)


def encoded(pixels: Any, kind: str = "PNG") -> bytes:
    """`pixels` are red first, as Pillow has them."""
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, kind)
    return file.getvalue()


def decoded(data: bytes, size: tuple[int, int] | None = None) -> Any:
    """Height and width; what OpenCV makes of the image."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    image = image if size is None else cv2.resize(image, size[::-1])
    return image if image.ndim == 3 else image[:, :, None]


def of_images(*images: bytes) -> Tensor:
    return Tensor("image", "BYTES", (len(images),), join_elements(images))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
@pytest.mark.parametrize("size", [(24, 32), (48, 64), (7, 9), (101, 53)])
async def test_images_are_decoded_and_resized_as_opencv_does(
    models: Models, kind: str, size: tuple[int, int]
) -> None:
    images = [encoded(smooth(*size), kind), encoded(smooth(*size)[::-1], kind)]
    expected = np.stack([decoded(image, (24, 32)) for image in images]).astype(np.float32)
    for model in ("fixed", "bytes"):
        found = await models.ask(model, of_images(*images))
        assert found.shape == (2, 24, 32, 3)
        assert np.abs(found.astype(np.float32) - expected).max() <= 1
    found = await models.ask("turned", of_images(*images))
    assert np.abs(found.transpose(0, 2, 3, 1) - expected).max() <= 1
    found = await models.ask("five", of_images(*images))
    assert np.abs(found[:, 0] - expected).max() <= 1


async def test_other_sizes_and_channels(models: Models) -> None:
    for size, expected in (((90, 150), (100, 150)), ((220, 30), (200, 30)), ((9, 9), (100, 20))):
        image = encoded(smooth(*size))
        found = await models.ask("range", of_images(image))
        assert found.shape == (1, *expected, 3)
        assert np.abs(found[0].astype(int) - decoded(image, expected).astype(int)).max() <= 1
    for channels in (1, 3, 4):
        image = encoded(smooth(5, 8, channels))
        assert np.array_equal((await models.ask("any", of_images(image)))[0], decoded(image))
    image = encoded(smooth(24, 32, 1))
    assert np.array_equal((await models.ask("grey", of_images(image)))[0], decoded(image))


SMALL = encoded(smooth(4, 4))
# 10 KB that would become 81 million pixels.
HUGE = encoded(np.zeros((9000, 9000), np.bool_))


@pytest.mark.parametrize(
    ("model", "images", "text"),
    [
        ("fixed", [b"no image"], "image 0 of input 'image' cannot be decoded; possible: JPEG"),
        ("fixed", [SMALL, SMALL[:40]], "image 1 of input 'image' cannot be decoded"),
        ("fixed", [b""], "image 0 of input 'image' cannot be decoded"),
        ("fixed", [], "input 'image' has no images"),
        ("fixed", [HUGE], "has 9000 x 9000 pixels; at most 67108864"),
        ("fixed", [encoded(smooth(4, 4, 1))], "has 1 channels; the model takes 3"),
        ("fixed", [encoded(smooth(4, 4, 4))], "has 4 channels; the model takes 3"),
        ("first", [SMALL], 'the option layout can be "NHWC:NCHW"'),
        ("nchw", [SMALL], "its layout is [N,C,H,W]; possible: NHWC"),
        ("flat", [SMALL], "the model takes FP32 of 2 dimensions"),
        ("range", [encoded(smooth(100, 30))] * 2, "has shape [2, 100, 30, 3]; the model takes"),
        ("any", [SMALL, encoded(smooth(4, 5))], "is 4 x 5 x 3, another one 4 x 4 x 3"),
    ],
)
async def test_images_that_cannot_be_taken(
    models: Models, model: str, images: list[bytes], text: str
) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(text)):
        await models.ask(model, of_images(*images))


async def test_images_in_rows_and_with_wrong_lengths(models: Models) -> None:
    data = join_elements([SMALL])
    with pytest.raises(InvalidRequestError, match="images come as .their number."):
        await models.ask("fixed", Tensor("image", "BYTES", (1, 1), data))
    with pytest.raises(InvalidRequestError, match="has 2 elements, the data 1"):
        await models.ask("fixed", Tensor("image", "BYTES", (2,), data))


async def test_a_server_without_pillow(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InvalidRequestError, match="Pillow is missing, which is in the extra"):
        await models.ask("fixed", of_images(SMALL))


async def test_images_over_rest(tmp_path: Path) -> None:
    write_model(tmp_path / "bytes", MODELS["bytes"][0], "bytes")
    image = encoded(smooth(24, 32))
    async with serving(tmp_path, "bytes") as server:
        # Without binary_data_size: the only input has all of the data.
        head = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES"}]}
        status, _, body = await post_binary(server, head, join_elements([image]), "bytes")
        assert status == 200, body
        text = base64.b64encode(image).decode()
        call = {"inputs": [tensor("image", [text], [1], "BYTES")]}
        answer = await infer_ok(server, call, "bytes")
        rows = {"instances": [{"b64": text}, {"b64": text}]}
        status, predicted = await server.post("/v1/models/bytes:predict", rows)
        assert status == 200, predicted
    assert np.array_equal(predicted["predictions"], [decoded(image)] * 2)
    expected = decoded(image).ravel().tolist()
    assert json.loads(body)["outputs"][0]["data"] == expected
    assert answer["outputs"][0]["data"] == expected
