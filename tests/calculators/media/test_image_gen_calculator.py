"""Images, compared with openvino-genai called directly."""

import asyncio
import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai
import pytest
from PIL import Image

from calculators.image_gen_calculator import IMAGE_REQUEST, IMAGE_RESPONSE, ImageGenCalculator
from calculators.media.image_options import ImageGenCalculatorOptions
from server.errors import InvalidRequestError, ModelLoadError
from server.graph.testing import CalculatorRunner
from server.payloads import ImageRequest

SETTINGS: dict[str, Any] = {"width": 64, "height": 64, "num_inference_steps": 3, "rng_seed": 7}


def open_runner(folder: Path, **options: Any) -> CalculatorRunner:
    options = {"models_path": str(folder), **options}
    runner = CalculatorRunner(ImageGenCalculator, ImageGenCalculatorOptions(**options))
    runner.open()
    return runner


@pytest.fixture(scope="module")
def runner(sd_model: Path) -> Iterator[CalculatorRunner]:
    runner = open_runner(sd_model)
    yield runner
    runner.calculator.close()


async def make(runner: CalculatorRunner, **fields: Any) -> np.ndarray[Any, Any]:
    request = ImageRequest(**{"prompt": "cat", **SETTINGS, **fields})
    outputs = await runner.run({IMAGE_REQUEST: [request]})
    [response] = outputs[IMAGE_RESPONSE.name]
    return np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in response.images])


def picture(width: int = 64, height: int = 64) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def file_of(image: Image.Image, form: str = "PNG", **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


def tensor_of(image: Image.Image) -> ov.Tensor:
    return ov.Tensor(np.asarray(image.convert("RGB"))[None].copy())


def half_mask() -> Image.Image:
    mask = Image.new("RGB", (64, 64))
    mask.paste("white", (0, 0, 64, 32))
    return mask


async def test_images_are_those_of_the_library(runner: CalculatorRunner, sd_model: Path) -> None:
    pipeline = openvino_genai.Text2ImagePipeline(sd_model, "CPU")
    expected = pipeline.generate("cat", num_images_per_prompt=2, negative_prompt="dog", **SETTINGS)
    found = await make(runner, num_images_per_prompt=2, negative_prompt="dog")
    assert np.array_equal(found, expected.data)
    assert not np.array_equal(found[0], found[1])


async def test_changed_images_are_those_of_the_library(
    runner: CalculatorRunner, sd_model: Path
) -> None:
    image = picture(72, 64)
    pipeline = openvino_genai.Image2ImagePipeline(sd_model, "CPU")
    settings = {**SETTINGS, "width": -1, "height": -1}
    expected = pipeline.generate("cat", tensor_of(image), strength=0.7, **settings)
    found = await make(runner, image=file_of(image), strength=0.7, width=None, height=None)
    # Without a size, the result has the image's.
    assert found.shape == (1, 64, 72, 3)
    assert np.array_equal(found, expected.data)


async def test_masked_images_are_those_of_the_library(
    runner: CalculatorRunner, sd_model: Path
) -> None:
    pipeline = openvino_genai.InpaintingPipeline(sd_model, "CPU")
    inputs = tensor_of(picture()), tensor_of(half_mask())
    found = await make(
        runner, image=file_of(picture()), mask=file_of(half_mask()), num_images_per_prompt=2
    )
    for number in range(2):
        expected = pipeline.generate("cat", *inputs, **{**SETTINGS, "rng_seed": 7 + number})
        assert np.array_equal(found[number], expected.data[0])


async def test_a_request_that_nobody_waits_for_ends_between_steps(runner: CalculatorRunner) -> None:
    long = asyncio.create_task(make(runner, num_inference_steps=100))
    status = runner.calculator.status
    async with asyncio.timeout(60):
        while status()["running"] == 0:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    waiting = asyncio.create_task(make(runner))
    await asyncio.sleep(0.05)
    long.cancel()
    # The one behind it is served, and not after a hundred steps.
    assert (await waiting).shape == (1, 64, 64, 3)
    assert long.cancelled()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"num_inference_steps": 101}, "num_inference_steps is greater than maxNumInferenceSteps"),
        ({"num_images_per_prompt": 11}, "num_images_per_prompt/n is greater than maxNumImages"),
        ({"width": 4104}, "width exceeds max_resolution 4096x4096, found 4104"),
        ({"width": 65}, "must be divisible by 8"),
        ({"prompt_2": "dog"}, "Prompt 2 is not used by"),
        ({"rng_seed": 2**63}, "rng_seed is greater than its maximum"),
        ({"lora_alphas": {"a": 1.0}}, "lora_alphas is not supported"),
        ({"image": b"GIF89a"}, "image: Image parsing failed"),
        ({"image": file_of(picture())[:-100]}, "image: Image parsing failed: image file is trunc"),
        ({"image": file_of(picture()), "mask": b"no"}, "mask: Image parsing failed"),
        ({"image": file_of(picture()), "strength": 0.0}, "strength"),
    ],
)
async def test_what_cannot_be_made_is_refused(
    runner: CalculatorRunner, fields: Any, problem: str
) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        await make(runner, **fields)


async def test_the_models_are_compiled_for_one_size(sd_model: Path) -> None:
    runner = open_runner(sd_model, resolution="72x64", guidance_scale=5.0)
    pipeline = openvino_genai.Text2ImagePipeline(sd_model)
    pipeline.reshape(1, 64, 72, 5.0)
    pipeline.compile("CPU")
    settings = {**SETTINGS, "width": 72, "guidance_scale": 5.0}
    expected = pipeline.generate("cat", **settings)
    assert np.array_equal(await make(runner, width=None, height=None), expected.data)
    for fields, problem in (
        ({"width": 64}, "the resolution 64x64 is not possible; possible: 72x64"),
        ({"width": 72, "guidance_scale": 4.0}, "guidance_scale does not match .* 5.0, found 4.0"),
        ({"width": 72, "num_images_per_prompt": 2}, "num_images_per_prompt does not match"),
        ({"width": None}, "width is missing; possible: 72x64"),
    ):
        with pytest.raises(InvalidRequestError, match=problem):
            await make(runner, **fields)
    runner.calculator.close()


async def test_without_the_extra_the_error_names_it(
    sd_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino_genai", None)
    with pytest.raises(ModelLoadError, match=r"genai' of the extra \[media\]: pip install"):
        open_runner(sd_model)


def test_a_missing_part_is_named(sd_model: Path, tmp_path: Path) -> None:
    shutil.copytree(sd_model, tmp_path, dirs_exist_ok=True)
    (tmp_path / "vae_decoder" / "openvino_model.bin").unlink()
    with pytest.raises(ModelLoadError, match=r"vae_decoder/openvino_model.bin: no such file"):
        open_runner(tmp_path)
    for text, problem in (("[]", "it holds no JSON object"), ("{}", "it names no _class_name")):
        (tmp_path / "model_index.json").write_text(text)
        with pytest.raises(ModelLoadError, match=f"model_index.json: {problem}"):
            open_runner(tmp_path)


async def test_a_model_without_vae_encoder_inputs_texts_only(
    sd_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(sd_model, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "vae_encoder")
    runner = open_runner(tmp_path)
    assert runner.calculator.status()["inputs"] == ["text"]
    assert (await make(runner)).shape == (1, 64, 64, 3)
    with pytest.raises(InvalidRequestError, match="Image-to-image pipeline is not available"):
        await make(runner, image=file_of(picture()))
    runner.calculator.close()


async def test_the_other_shapes_of_pipelines(large_pipeline: Path, tmp_path: Path) -> None:
    runner = open_runner(large_pipeline)
    pipeline: Any = openvino_genai.Text2ImagePipeline(large_pipeline, "CPU")
    expected = pipeline.generate("cat", **SETTINGS)
    assert np.array_equal(await make(runner), expected.data)
    pipeline = openvino_genai.Image2ImagePipeline(large_pipeline, "CPU")
    image, settings = picture(), {**SETTINGS, "strength": 0.7}
    expected = pipeline.generate("cat", tensor_of(image), **settings)
    assert np.array_equal(await make(runner, image=file_of(image), strength=0.7), expected.data)
    pipeline = openvino_genai.InpaintingPipeline(large_pipeline, "CPU")
    expected = pipeline.generate("cat", tensor_of(image), tensor_of(half_mask()), **settings)
    files = {"image": file_of(image), "mask": file_of(half_mask())}
    assert np.array_equal(await make(runner, strength=0.7, **files), expected.data)
    runner.calculator.close()
    shutil.copytree(large_pipeline, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "vae_encoder")
    runner = open_runner(tmp_path)
    assert runner.calculator.status()["inputs"] == ["text"]
    assert (await make(runner)).shape == (1, 64, 64, 3)
    runner.calculator.close()
