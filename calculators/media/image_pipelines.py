"""The pipelines of openvino-genai on one set of models: from text, from an image, with a mask."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai

from calculators.media.image_files import Pixels
from calculators.media.image_options import ImageGenCalculatorOptions
from calculators.media.pipeline_folder import (
    SCHEDULER_FILE,
    VAE_DECODER,
    VAE_ENCODER,
    pipeline_class,
    pipeline_parts,
)
from server.errors import GenerationError, InvalidRequestError, ModelLoadError
from server.host.openvino_errors import error_summary

__all__ = ["ImagePipelines"]

DEFAULT_GUIDANCE_SCALE = 7.5
# Of these, openvino-genai 2026.4 makes one pipeline of another; with others it crashes the process.
RELATED = (
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "LatentConsistencyModelPipeline",
)
# Those are built of their models instead.
FLUX, SD3 = "FluxPipeline", "StableDiffusion3Pipeline"
# Models that were trained for masks only have inputs that the other pipelines do not fill.
MASK_ONLY = ("Inpaint", "Fill")

Pipelines = tuple[Any, Any, Any]
"""For a text, an image, and an image with a mask; None for what the model cannot do."""


class ImagePipelines:
    """One pipeline of each kind that the models support; all share their weights.

    They also share their state, so only one of them can run at a time. Raises ModelLoadError.
    """

    def __init__(
        self, folder: Path, options: ImageGenCalculatorOptions, properties: Mapping[str, Any]
    ) -> None:
        class_name = pipeline_class(folder)
        is_fixed = options.static_size is not None or bool(options.lora_adapters)
        try:
            if class_name in RELATED:
                base = _prepare(_load_base(folder), options, properties)
                self._text, self._image, self._mask = _relatives_of(base)
            elif class_name in (FLUX, SD3) and not is_fixed:
                parts = _load_parts(folder, class_name, options, properties)
                self._text, self._image, self._mask = _pipelines_of(
                    parts, class_name, has_encoder=(folder / VAE_ENCODER).is_dir()
                )
            elif any(word in class_name for word in MASK_ONLY):
                base = _prepare(openvino_genai.InpaintingPipeline(folder), options, properties)
                self._text, self._image, self._mask = None, None, base
            else:
                base = _prepare(openvino_genai.Text2ImagePipeline(folder), options, properties)
                self._text, self._image, self._mask = base, None, None
        except RuntimeError as error:
            raise ModelLoadError(f"{folder}: {error_summary(error)}") from error

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


def _prepare(
    pipeline: Any, options: ImageGenCalculatorOptions, properties: Mapping[str, Any]
) -> Any:
    """Compile the models."""
    size, scale = options.static_size, options.guidance_scale
    if size is not None:
        scale = DEFAULT_GUIDANCE_SCALE if scale is None else scale
        pipeline.reshape(options.num_images_per_prompt or 1, size.height, size.width, scale)
    pipeline.compile(*options.devices, **properties)
    return pipeline


def _relatives_of(base: Any) -> Pipelines:
    if isinstance(base, openvino_genai.Text2ImagePipeline):
        return base, None, None
    text = openvino_genai.Text2ImagePipeline(base)
    if isinstance(base, openvino_genai.Image2ImagePipeline):
        return text, base, None
    return text, openvino_genai.Image2ImagePipeline(base), base


def _load_parts(
    folder: Path, class_name: str, options: ImageGenCalculatorOptions, properties: Mapping[str, Any]
) -> Sequence[Any]:
    """The scheduler and the compiled models of Flux or Stable Diffusion 3, in genai's order."""
    genai = openvino_genai
    if class_name == FLUX:
        encoders = [genai.CLIPTextModel(folder / "text_encoder")]
        t5, denoiser = "text_encoder_2", genai.FluxTransformer2DModel(folder / "transformer")
    else:
        names = ("text_encoder", "text_encoder_2")
        encoders = [genai.CLIPTextModelWithProjection(folder / name) for name in names]
        t5, denoiser = "text_encoder_3", genai.SD3Transformer2DModel(folder / "transformer")
    # Stable Diffusion 3 can do without it.
    if t5 in pipeline_parts(folder):
        encoders.append(genai.T5EncoderModel(folder / t5))
    vae = genai.AutoencoderKL(
        *(f for f in (folder / VAE_ENCODER, folder / VAE_DECODER) if f.is_dir())
    )
    text_device, denoise_device, vae_device = options.devices
    for encoder in encoders:
        encoder.compile(text_device, **properties)
    denoiser.compile(denoise_device, **properties)
    vae.compile(vae_device, **properties)
    scheduler = genai.Scheduler.from_config(folder / "scheduler" / SCHEDULER_FILE)
    return scheduler, *encoders, denoiser, vae


def _pipelines_of(parts: Sequence[Any], class_name: str, *, has_encoder: bool) -> Pipelines:
    """Without a VAE encoder there are images of texts only."""
    maker = "flux" if class_name == FLUX else "stable_diffusion_3"
    text = getattr(openvino_genai.Text2ImagePipeline, maker)(*parts)
    if not has_encoder:
        return text, None, None
    kinds = (openvino_genai.Image2ImagePipeline, openvino_genai.InpaintingPipeline)
    image, mask = (getattr(kind, maker)(*parts) for kind in kinds)
    return text, image, mask
