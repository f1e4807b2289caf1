"""Image files <-> arrays of pixels."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from calculators.media.image_limits import MAX_PIXELS
from server.errors import InvalidRequestError
from server.payloads import ImageSize

__all__ = ["decode_image", "decode_mask", "encode_png", "read_size"]

# Every one of them is decoded by Pillow itself, without other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM", "TGA")
# Grey images with more than 8 bits; Pillow would cut their values at 255.
DEEP_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N")

Pixels = npt.NDArray[np.uint8]


def read_size(file: bytes, name: str, max_pixels: int = MAX_PIXELS) -> ImageSize:
    """The size of an image without decoding it, as it is shown. Raises InvalidRequestError."""
    image = _open(file, name, max_pixels)
    width, height = image.size
    # EXIF's orientations from 5 to 8 turn the image by 90 degrees.
    is_turned = _orientation(image) >= 5
    return ImageSize(height, width) if is_turned else ImageSize(width, height)


def decode_image(file: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The image as [height, width, 3] in RGB; transparency is dropped.

    Raises InvalidRequestError, which calls the file `name`.
    """
    return _rgb(_decode(file, name, max_pixels))


def decode_mask(file: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The mask as [height, width, 3], white where the image is to be changed.

    A mask with transparent parts marks these, as OpenAI has it; any other one marks white parts.
    Raises InvalidRequestError, which calls the file `name`.
    """
    image = _decode(file, name, max_pixels)
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA"))[:, :, 3]
        if (alpha == 0).any():
            changed = np.where(alpha == 0, 255, 0).astype(np.uint8)
            return np.repeat(changed[:, :, None], 3, axis=2)
    return _rgb(image)


def encode_png(pixels: Sequence[Pixels]) -> tuple[bytes, ...]:
    """A PNG file of each [height, width, 3]."""
    return tuple(_encode(image) for image in pixels)


def _open(file: bytes, name: str, max_pixels: int) -> Any:
    """Read the header."""
    try:
        image = Image.open(BytesIO(file), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidRequestError(
            f"{name} has too many pixels; at most {max_pixels} are possible", name
        ) from error
    except Exception as error:
        # Pillow's readers raise errors of many kinds for broken files.
        raise _unreadable(name, "it is no image, or one of another format") from error
    width, height = image.size
    if width * height > max_pixels:
        raise InvalidRequestError(
            f"{name} is {width}x{height}, more than the {max_pixels} pixels that are possible", name
        )
    return image


def _decode(file: bytes, name: str, max_pixels: int) -> Any:
    image = _open(file, name, max_pixels)
    try:
        image.load()
        return ImageOps.exif_transpose(image)
    except Exception as error:
        raise _unreadable(name, str(error)[:200] or type(error).__name__) from error


def _unreadable(name: str, reason: str) -> InvalidRequestError:
    possible = ", ".join(FORMATS)
    return InvalidRequestError(
        f"{name}: Image parsing failed: {reason}; possible formats: {possible}", name
    )


def _orientation(image: Any) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        # Broken EXIF data, which decoding ignores as well.
        return 1


def _rgb(image: Any) -> Pixels:
    if image.mode in DEEP_GREY:
        grey = np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def _encode(image: Pixels) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()
