"""Images to be made of a text, and of other images."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from server.payloads.client_request import ClientRequest

__all__ = ["ImageRequest", "ImageResponse", "ImageSize"]

SIZE = re.compile(r"(-?[0-9]{1,18})x(-?[0-9]{1,18})")


class ImageSize(NamedTuple):
    """Width and height in pixels, written as in 512x768."""

    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> "ImageSize":
        """Raises ValueError, with a message that goes on after the name of the value."""
        found = SIZE.fullmatch(text)
        if found is None:
            raise ValueError("is not in correct format - WxH")
        size = cls(int(found[1]), int(found[2]))
        if min(size) <= 0:
            raise ValueError("values must be greater than 0")
        return size

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class ImageRequest(ClientRequest):
    """What to draw; None leaves a setting to the graph or the model.

    `model` is the name that the client asked for: the model's, or that of one of its adapters.
    `width` and `height` are pixels. `image` and `mask` are files as they were uploaded: an image is
    changed, where there is a mask only in its white or transparent parts. `strength`, from 0 to 1,
    is how much of the image may change. `lora_alphas` are weights of adapters.
    """

    prompt: str
    model: str = ""
    prompt_2: str | None = None
    prompt_3: str | None = None
    negative_prompt: str | None = None
    negative_prompt_2: str | None = None
    negative_prompt_3: str | None = None
    width: int | None = None
    height: int | None = None
    num_images_per_prompt: int | None = None
    num_inference_steps: int | None = None
    rng_seed: int | None = None
    strength: float | None = None
    guidance_scale: float | None = None
    max_sequence_length: int | None = None
    lora_alphas: Mapping[str, float] | None = None
    image: bytes | None = None
    mask: bytes | None = None

    @property
    def num_requests(self) -> int:
        """Each image counts."""
        return self.num_images_per_prompt or 1


@dataclass(frozen=True, slots=True)
class ImageResponse:
    """The images, as PNG files."""

    images: tuple[bytes, ...]
