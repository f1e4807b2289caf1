"""LoRA adapters of images, compared with openvino-genai called directly."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino_genai
import pytest
from PIL import Image
from support.loras import layers_of, write_lora

from calculators.image_gen_calculator import IMAGE_REQUEST, IMAGE_RESPONSE, ImageGenCalculator
from calculators.media.image_options import (
    AdapterMode,
    CompositeLoraAdapter,
    ImageGenCalculatorOptions,
    LoraAdapter,
    LoraComponent,
)
from calculators.media.lora_file import check_lora_file
from server.errors import InvalidRequestError, ModelLoadError
from server.graph.testing import CalculatorRunner
from server.payloads import ImageRequest

SETTINGS: dict[str, Any] = {"width": 64, "height": 64, "num_inference_steps": 2, "rng_seed": 7}
MODES = openvino_genai.AdapterConfig.Mode

Pixels = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def files(sd_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    layers = layers_of(sd_model / "unet" / "openvino_model.xml")
    folder = tmp_path_factory.mktemp("loras")
    return {
        name: write_lora(folder / f"{name}.safetensors", layers, i) for i, name in enumerate("ab")
    }


def open_runner(
    model: Path, files: Mapping[str, Path], mode: AdapterMode = AdapterMode.DYNAMIC
) -> CalculatorRunner:
    adapters = (
        LoraAdapter("a", str(files["a"]), mode=mode),
        LoraAdapter("b", str(files["b"]), 0.5, mode),
    )
    blend = CompositeLoraAdapter("blend", (LoraComponent("a", 0.7), LoraComponent("b")))
    options = ImageGenCalculatorOptions(
        str(model), lora_adapters=adapters, composite_lora_adapters=(blend,)
    )
    runner = CalculatorRunner(ImageGenCalculator, options)
    runner.open()
    return runner


@pytest.fixture(scope="module")
def runner(sd_model: Path, files: Mapping[str, Path]) -> Iterator[CalculatorRunner]:
    runner = open_runner(sd_model, files)
    yield runner
    runner.calculator.close()


async def make(runner: CalculatorRunner, model: str, alphas: Any = None) -> Pixels:
    request = ImageRequest("cat", model, lora_alphas=alphas, **SETTINGS)
    [response] = (await runner.run({IMAGE_REQUEST: [request]}))[IMAGE_RESPONSE.name]
    return np.asarray(Image.open(io.BytesIO(response.images[0])))


class Library:
    """The adapters in openvino-genai."""

    def __init__(self, model: Path, files: Mapping[str, Path], mode: Any) -> None:
        self.adapters = {name: openvino_genai.Adapter(path) for name, path in files.items()}
        self.pipeline = openvino_genai.Text2ImagePipeline(
            model, "CPU", adapters=self.config({"a": 1.0, "b": 0.5}, mode)
        )

    def config(self, alphas: Mapping[str, float], mode: Any = MODES.MODE_AUTO) -> Any:
        weighted = [(self.adapters[name], alpha) for name, alpha in alphas.items()]
        return openvino_genai.AdapterConfig(weighted, mode)

    def make(self, **arguments: Any) -> Pixels:
        return np.array(self.pipeline.generate("cat", **SETTINGS, **arguments).data[0])


async def test_each_request_has_the_adapters_of_its_model_name(
    runner: CalculatorRunner, sd_model: Path, files: Mapping[str, Path]
) -> None:
    library = Library(sd_model, files, MODES.MODE_DYNAMIC)
    cases: list[tuple[str, Any, dict[str, float]]] = [
        ("model", None, {"a": 0.0, "b": 0.0}),
        ("a", None, {"a": 1.0}),
        ("b", None, {"b": 0.5}),
        ("blend", None, {"a": 0.7, "b": 0.5}),
        ("a", {"a": 0.3}, {"a": 0.3}),
        ("blend", {"b": -0.5}, {"a": 0.7, "b": -0.5}),
        ("model", {"b": 0.9}, {"a": 0.0, "b": 0.9}),
        ("model", None, {"a": 0.0, "b": 0.0}),
    ]
    found = [await make(runner, model, alphas) for model, alphas, _ in cases]
    # In another order: no image may depend on the one before.
    for image, (model, _, expected) in reversed([*zip(found, cases, strict=True)]):
        assert np.array_equal(image, library.make(adapters=library.config(expected))), model
    # All differ, but for the first and the last.
    assert len({image.tobytes() for image in found}) == len(cases) - 1


@pytest.mark.parametrize("mode", [AdapterMode.STATIC, AdapterMode.FUSE])
async def test_fixed_adapters_are_in_every_image(
    sd_model: Path, files: Mapping[str, Path], mode: AdapterMode
) -> None:
    runner = open_runner(sd_model, files, mode)
    library = Library(sd_model, files, getattr(MODES, f"MODE_{mode.name}"))
    expected = library.make()
    for model in ("model", "a"):
        assert np.array_equal(await make(runner, model), expected)
    with pytest.raises(InvalidRequestError, match="lora_alphas is not supported"):
        await make(runner, "model", {"a": 0.5})
    runner.calculator.close()


def test_the_names_are_offered_and_shown(runner: CalculatorRunner) -> None:
    assert runner.output_side_packets["SERVED_NAMES"].names == ("a", "b", "blend")
    status = runner.calculator.status()
    assert (status["adapters"], status["adapter_mode"]) == (["a", "b", "blend"], "DYNAMIC")


@pytest.mark.parametrize(
    ("model", "alphas", "problem"),
    [
        ("a", {"b": 0.5}, "lora_alphas names 'b', which is no adapter of 'a'; possible: a"),
        ("blend", {"c": 0.5}, "lora_alphas names 'c', which is no adapter of 'blend'"),
        ("model", {"c": 0.5}, "lora_alphas names 'c', which is no adapter of 'model'"),
    ],
)
async def test_weights_of_other_adapters_are_refused(
    runner: CalculatorRunner, model: str, alphas: Any, problem: str
) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        await make(runner, model, alphas)


@pytest.mark.parametrize(
    ("part", "known", "forms"),
    [
        (
            "unet",
            "lora_unet_{kohya}.lora_%s.weight",
            [
                "unet.{layer}.lora_%s.weight",
                "unet.{layer}.lora.%s.weight",
                "base_model.model.{layer}.lora_%s.weight",
                "base_model.model.{layer}.lora_%s.default.weight",
            ],
        ),
        (
            "text_encoder",
            "lora_te_{kohya}.lora_%s.weight",
            ["text_encoder.{layer}.lora_%s.weight", "text_encoder.{layer}.lora.%s.weight"],
        ),
    ],
)
async def test_the_names_of_other_tools_are_known(
    sd_model: Path, tmp_path: Path, part: str, known: str, forms: list[str]
) -> None:
    layers = layers_of(sd_model / part / "openvino_model.xml")
    paths = []
    for number, form in enumerate([known, *forms]):
        words = ("A", "B") if "lora_%s" in form and number else ("down", "up")
        path = tmp_path / f"{number}.safetensors"
        paths.append(write_lora(path, layers, 0, *(form % word for word in words)))
        check_lora_file(path)
    adapters = tuple(LoraAdapter(str(i), str(path)) for i, path in enumerate(paths))
    runner = CalculatorRunner(
        ImageGenCalculator, ImageGenCalculatorOptions(str(sd_model), lora_adapters=adapters)
    )
    runner.open()
    expected = await make(runner, "0")
    assert not np.array_equal(expected, await make(runner, "model"))
    for number in range(1, len(paths)):
        assert np.array_equal(await make(runner, str(number)), expected), forms[number - 1]
    runner.calculator.close()


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"x": (4, 4)}, "it is no LoRA adapter; it has the tensors x"),
        ({"q.lora_A.weight": (4, 8)}, "q lacks the second of its two matrices"),
        ({"q.lora_B.weight": (8, 4)}, "q lacks the first of its two matrices"),
        (
            {"q.lora_A.weight": (4, 8), "q.lora_B.weight": (8, 2)},
            "q has matrices of the ranks 4 and 2; both must have the same",
        ),
    ],
)
def test_broken_adapters_are_named(tmp_path: Path, tensors: Any, problem: str) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "broken.safetensors"
    save_file({name: np.zeros(shape, np.float32) for name, shape in tensors.items()}, path)
    with pytest.raises(ModelLoadError, match=problem):
        check_lora_file(path)


def test_files_that_are_no_adapters_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="missing.safetensors: No such file"):
        check_lora_file(tmp_path / "missing.safetensors")
    (tmp_path / "text").write_text("this is a text, and no adapter")
    with pytest.raises(ModelLoadError, match="text: it is no safetensors file"):
        check_lora_file(tmp_path / "text")
