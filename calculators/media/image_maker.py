"""Makes the images of one request; imports the libraries of the extra [media]."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calculators.media.image_adapters import ImageAdapters
from calculators.media.image_files import Pixels, decode_image, decode_mask, encode_png, read_size
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
    def adapter_names(self) -> tuple[str, ...]:
        """The names of the adapters, which requests may give as their model."""
        return self._adapters.names

    def check(self, request: ImageRequest) -> None:
        """Raise InvalidRequestError for what can be known before the request waits."""
        arguments = self._arguments(request)
        max_pixels = self._limits.max_pixels
        if request.mask is not None:
            read_size(request.mask, "mask", max_pixels)
        if request.image is not None:
            size = read_size(request.image, "image", max_pixels)
            if request.mask is None and not {"width", "height"} & arguments.keys():
                self._limits.check_output(size)

    def make(self, request: ImageRequest, cancelled: threading.Event) -> tuple[Pixels, ...]:
        """The images, each [height, width, 3]; they are of no use once `cancelled` is set.

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
        return tuple(images)

    def encode(self, images: tuple[Pixels, ...]) -> tuple[bytes, ...]:
        """A PNG file of each image."""
        return encode_png(images)

    def status(self) -> Mapping[str, object]:
        """What images can be made of, and the adapters."""
        return {"makes_images_of": list(self._pipelines.kinds), **self._adapters.status()}

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
