"""Makes the images of one request; imports the libraries of the extra [media]."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calculators.media.image_adapters import ImageAdapters
from calculators.media.image_files import Pixels, decode_image, decode_mask, encode_png
from calculators.media.image_limits import ImageLimits
from calculators.media.image_options import ImageGenCalculatorOptions
from calculators.media.image_pipelines import ImagePipelines
from calculators.media.pipeline_folder import pipeline_class
from server.errors import GenerationError
from server.payloads import ImageRequest

__all__ = ["ImageMaker"]

# openvino-genai's own.
DEFAULT_SEED = 42


class ImageMaker:
    """The pipelines of one folder, with its limits and adapters. Raises ModelLoadError."""

    def __init__(
        self,
        options: ImageGenCalculatorOptions,
        folder: Path,
        adapter_paths: Mapping[str, Path],
        properties: Mapping[str, Any],
    ) -> None:
        self._limits = ImageLimits(options)
        self._adapters = ImageAdapters(options, adapter_paths, pipeline_class(folder))
        self._pipelines = ImagePipelines(
            folder, options, {**properties, **self._adapters.load_properties()}
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """What images can be made of."""
        return self._pipelines.kinds

    def make(self, request: ImageRequest, cancelled: threading.Event) -> tuple[bytes, ...]:
        """The images as PNG files; they are of no use once `cancelled` is set.

        Raises InvalidRequestError for what the model cannot do, and for broken files.
        """
        arguments = self._arguments(request)
        max_pixels = self._limits.max_pixels
        inputs = []
        if request.image is not None:
            inputs.append(decode_image(request.image, "image", max_pixels))
        if request.mask is not None:
            inputs.append(decode_mask(request.mask, "mask", max_pixels))
        images: list[Pixels] = []
        for each in self._runs(request, arguments):
            made = self._pipelines.generate(request.prompt, inputs, each, cancelled.is_set)
            if made is None:
                raise GenerationError("the pipeline ended without images")
            images.extend(made)
        return encode_png(images)

    def _arguments(self, request: ImageRequest) -> dict[str, Any]:
        adapters = self._adapters.arguments(request.model, request.lora_alphas)
        return {**self._limits.arguments(request), **adapters}

    def _runs(self, request: ImageRequest, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        """The arguments of each run of the pipeline.

        With a mask, openvino-genai 2026.4 makes one image at a time: the seed goes up by one.
        """
        num_images = arguments.get("num_images_per_prompt", 1)
        if request.mask is None or num_images == 1 or self._limits.is_static:
            return [arguments]
        seed = arguments.get("rng_seed", DEFAULT_SEED)
        return [
            {**arguments, "num_images_per_prompt": 1, "rng_seed": seed + number}
            for number in range(num_images)
        ]
