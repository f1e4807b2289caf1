"""What a request for images may ask for, and the arguments of openvino-genai that it becomes."""

from collections.abc import Mapping
from typing import Any

from calculators.media.image_options import ImageGenCalculatorOptions
from server.errors import InvalidRequestError
from server.payloads import ImageRequest, ImageSize

__all__ = ["MAX_PIXELS", "ImageLimits"]

# Of an uploaded image, where the graph allows no larger ones.
MAX_PIXELS = 4096 * 4096
MAX_SEED = 2**63 - 1
MAX_SEQUENCE_LENGTH = 2**31 - 1
# openvino-genai's own, which models that are compiled for it keep.
DEFAULT_NUM_IMAGES = 1
DEFAULT_GUIDANCE_SCALE = 7.5

# Handed to openvino-genai under the same names.
SETTINGS = (
    "prompt_2",
    "prompt_3",
    "negative_prompt",
    "negative_prompt_2",
    "negative_prompt_3",
    "width",
    "height",
    "num_images_per_prompt",
    "num_inference_steps",
    "rng_seed",
    "strength",
    "guidance_scale",
    "max_sequence_length",
)


class ImageLimits:
    """The limits and the defaults of one graph."""

    def __init__(self, options: ImageGenCalculatorOptions) -> None:
        self._options = options
        self._sizes = options.resolutions
        self._static_size = options.static_size
        self._max_size = options.max_size
        largest = max((size.width * size.height for size in self._sizes), default=0)
        self.max_pixels = max(MAX_PIXELS, largest, self._max_size.width * self._max_size.height)

    @property
    def is_static(self) -> bool:
        """Whether the models are compiled for one size and number of images."""
        return self._static_size is not None

    def arguments(self, request: ImageRequest) -> dict[str, Any]:
        """The keyword arguments of `generate`. Raises InvalidRequestError."""
        given = {name: getattr(request, name) for name in SETTINGS}
        arguments = {name: value for name, value in given.items() if value is not None}
        self._check_counts(arguments)
        arguments.setdefault("num_inference_steps", self._options.default_num_steps)
        default = self._options.default_size
        if self._sizes and ("width" in arguments) != ("height" in arguments):
            name = "width" if "height" in arguments else "height"
            raise InvalidRequestError(f"{name} is missing; possible: {self._possible()}", name)
        if default is not None:
            arguments.setdefault("width", default.width)
            arguments.setdefault("height", default.height)
        self._check_size(arguments)
        if self._static_size is not None:
            self._fix("num_images_per_prompt", DEFAULT_NUM_IMAGES, arguments)
            self._fix("guidance_scale", DEFAULT_GUIDANCE_SCALE, arguments)
        return arguments

    def check_output(self, size: ImageSize) -> None:
        """Raise InvalidRequestError for an image of this size, whose edit would have it too."""
        if size.width > self._max_size.width or size.height > self._max_size.height:
            raise InvalidRequestError(
                f"image is {size}, more than max_resolution {self._max_size}; "
                "give the size of the result",
                "size",
            )

    def _check_counts(self, arguments: Mapping[str, Any]) -> None:
        options = self._options
        limits = (
            (
                "num_images_per_prompt",
                "num_images_per_prompt/n",
                "maxNumImagesPerPrompt",
                options.max_num_images,
            ),
            (
                "num_inference_steps",
                "num_inference_steps",
                "maxNumInferenceSteps",
                options.max_num_inference_steps,
            ),
            ("rng_seed", "rng_seed", "its maximum", MAX_SEED),
            ("max_sequence_length", "max_sequence_length", "its maximum", MAX_SEQUENCE_LENGTH),
        )
        for field, name, limit_name, limit in limits:
            value = arguments.get(field)
            if value is not None and value > limit:
                raise InvalidRequestError(
                    f"{name} is greater than {limit_name}: {limit}, found {value}", field
                )

    def _check_size(self, arguments: Mapping[str, Any]) -> None:
        width, height = arguments.get("width"), arguments.get("height")
        if self._sizes and (width, height) not in self._sizes:
            raise InvalidRequestError(
                f"the resolution {width}x{height} is not possible; possible: {self._possible()}",
                "size",
            )
        for name, value, limit in (
            ("width", width, self._max_size.width),
            ("height", height, self._max_size.height),
        ):
            if value is not None and value > limit and not self._sizes:
                raise InvalidRequestError(
                    f"{name} exceeds max_resolution {self._max_size}, found {value}",
                    name,
                )

    def _fix(self, name: str, default: float, arguments: dict[str, Any]) -> None:
        """Set what the models are compiled for; a request can only ask for the same."""
        value = getattr(self._options, name)
        value = default if value is None else value
        if arguments.setdefault(name, value) != value:
            raise InvalidRequestError(
                f"{name} does not match what the model is compiled for: {value}, "
                f"found {arguments[name]}",
                name,
            )

    def _possible(self) -> str:
        return ", ".join(map(str, self._sizes))
