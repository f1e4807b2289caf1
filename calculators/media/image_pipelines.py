"""The pipelines of openvino-genai on one set of models: from text, from an image, with a mask."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai

from calculators.media.image_files import Pixels
from calculators.media.image_options import ImageGenCalculatorOptions
from calculators.media.pipeline_folder import pipeline_class
from server.errors import GenerationError, InvalidRequestError, ModelLoadError
from server.host.openvino_errors import error_summary

__all__ = ["ImagePipelines"]

DEFAULT_GUIDANCE_SCALE = 7.5
# Models that were trained for masks only have inputs that the other pipelines do not fill.
MASK_ONLY = ("Inpaint", "Fill")


class ImagePipelines:
    """One pipeline of each kind that the models support; all share their weights.

    They also share their state, so only one of them can run at a time. Raises ModelLoadError.
    """

    def __init__(
        self, folder: Path, options: ImageGenCalculatorOptions, properties: Mapping[str, Any]
    ) -> None:
        try:
            base = _load_base(folder)
            size = options.static_size
            if size is not None:
                base.reshape(
                    options.num_images_per_prompt or 1,
                    size.height,
                    size.width,
                    DEFAULT_GUIDANCE_SCALE
                    if options.guidance_scale is None
                    else options.guidance_scale,
                )
            base.compile(*options.devices, **properties)
        except RuntimeError as error:
            raise ModelLoadError(f"{folder}: {error_summary(error)}") from error
        self._text, self._image, self._mask = _derive(base, pipeline_class(folder))

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the pipelines can start from."""
        found = {"text": self._text, "image": self._image, "image and mask": self._mask}
        return tuple(kind for kind, pipeline in found.items() if pipeline is not None)

    def generate(
        self,
        prompt: str,
        inputs: Sequence[Pixels],
        arguments: Mapping[str, Any],
        is_cancelled: Callable[[], bool],
    ) -> Pixels | None:
        """The images as [number, height, width, 3]; None if it was cancelled between steps.

        `inputs` are no image, one, or an image and a mask. Raises InvalidRequestError for what the
        model cannot do.
        """
        kind, pipeline = (
            ("Text-to-image", self._text),
            ("Image-to-image", self._image),
            ("Inpainting", self._mask),
        )[len(inputs)]
        if pipeline is None:
            raise InvalidRequestError(f"{kind} pipeline is not available for this model", "model")
        tensors = [ov.Tensor(pixels[None]) for pixels in inputs]

        def callback(*_: object) -> bool:
            # An exception here would end the process.
            return is_cancelled()

        try:
            result = pipeline.generate(prompt, *tensors, **arguments, callback=callback)
        except MemoryError as error:
            raise GenerationError("there is not enough memory for these images") from error
        except RuntimeError as error:
            problem = f"the model cannot make these images: {error_summary(error)}"
            raise InvalidRequestError(problem) from error
        # A cancelled run has no images. The result's memory belongs to the pipeline.
        return None if is_cancelled() or not result.get_size() else np.array(result.data)


def _load_base(folder: Path) -> Any:
    """The pipeline from which the others can be made.

    Not an Image2ImagePipeline where it can be helped: with openvino-genai 2026.4, an
    InpaintingPipeline that is made of it crashes the process.
    """
    try:
        return openvino_genai.InpaintingPipeline(folder)
    except RuntimeError:
        # No pipeline for masks, or no VAE encoder.
        pass
    try:
        return openvino_genai.Image2ImagePipeline(folder)
    except RuntimeError:
        return openvino_genai.Text2ImagePipeline(folder)


def _derive(base: Any, class_name: str) -> Iterator[Any]:
    """The pipelines for text, image, and image with mask; None for what the model cannot do."""
    kinds = (openvino_genai.Text2ImagePipeline, openvino_genai.Image2ImagePipeline)
    is_mask_only = any(word in class_name for word in MASK_ONLY)
    for kind in kinds:
        if isinstance(base, kind):
            yield base
        elif is_mask_only or isinstance(base, openvino_genai.Text2ImagePipeline):
            yield None
        else:
            yield kind(base)
    yield base if isinstance(base, openvino_genai.InpaintingPipeline) else None
