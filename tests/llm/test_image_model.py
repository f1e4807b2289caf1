"""Images from Python."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import openvino_genai
import pytest
from PIL import Image

from server import ImageModel
from server.errors import InvalidRequestError, ModelLoadError

SETTINGS: dict[str, Any] = {"width": 64, "height": 64, "num_inference_steps": 2, "rng_seed": 5}


def pixels_of(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_images_of_a_folder_without_a_graph(sd_model: Path, tmp_path: Path) -> None:
    expected = openvino_genai.Text2ImagePipeline(sd_model, "CPU").generate("a cat", **SETTINGS)
    picture = tmp_path / "cat.png"
    with ImageModel(sd_model, max_num_inference_steps=2) as model:
        [found] = model.generate("a cat", **SETTINGS)
        assert np.array_equal(pixels_of(found), expected.data[0])
        picture.write_bytes(found)
        edited = model.edit("a dog", picture, n=2, num_inference_steps=2, strength=0.8)
        assert [pixels_of(image).shape for image in edited] == [(64, 64, 3)] * 2
        [masked] = model.edit("a dog", found, found, size="64x64", num_inference_steps=2)
        assert pixels_of(masked).shape == (64, 64, 3)
        with pytest.raises(InvalidRequestError, match="num_inference_steps is greater than"):
            model.generate("a cat", num_inference_steps=3)
        with pytest.raises(InvalidRequestError, match="Unhandled parameter: steps"):
            model.generate("a cat", steps=3)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no such folder"):
        ImageModel(tmp_path / "none")
    with pytest.raises(ModelLoadError, match="it is no image pipeline"):
        ImageModel("tiny_chat")
