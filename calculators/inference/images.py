"""Encoded images (JPEG, PNG and others) -> tensors of pixels, as OpenVINO Model Server makes them.

https://github.com/openvinotoolkit/model_server/blob/main/docs/binary_input_kfs.md
"""

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import openvino as ov

from calculators.inference.openvino_tensors import numpy_type
from server.errors import InvalidRequestError
from server.tensors import Tensor, TensorInfo

__all__ = ["decode_images"]

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
LAYOUTS = ("[N,...]", "[N,H,W,C]", "[N,?,H,W,C]", "[...]")
# Of one image; its pixels take far more memory than what the client sent.
MAX_PIXELS = 2**26
# Of the tensor that the images of one request become: the largest request that a server takes.
MAX_BYTES = 2**30
# How Pillow decodes what OpenCV decodes to one, three and four channels.
MODES: Mapping[str, str] = MappingProxyType(
    {"1": "L", "L": "L", "LA": "RGBA", "P": "RGB", "PA": "RGBA", "RGBA": "RGBA"}
)

Dimension = Any
"""OpenVINO's Dimension: a length, a range, or any."""


def decode_images(tensor: Tensor, info: TensorInfo, shape: Any, layout: str) -> Tensor:
    """Decode a tensor of BYTES, one image each, to BGR and to the size that an input takes.

    `shape` is the PartialShape of the input. Values are 0 to 255, in the input's datatype. Raises
    InvalidRequestError.
    """
    name = tensor.name
    if layout not in LAYOUTS:
        raise InvalidRequestError(
            f"input {name!r} is BYTES, but takes no images: its layout is {layout}; possible: "
            f'NHWC, for example by the option layout "NHWC:NCHW"',
            "inputs",
        )
    rank = len(shape) if shape.rank.is_static else 0
    if rank not in (4, 5) or info.datatype in ("BOOL", "BF16"):
        raise InvalidRequestError(
            f"input {name!r} has datatype BYTES; the model takes {info.datatype} of {rank} "
            f"dimensions, and images only as 4 dimensions of numbers",
            "inputs",
        )
    if len(tensor.shape) != 1:
        found = list(tensor.shape)
        raise InvalidRequestError(
            f"input {name!r} has shape {found}; images come as [their number]", "inputs"
        )
    try:
        tensor.check_elements()
    except ValueError as error:
        raise InvalidRequestError(f"input {name!r}: {error}", "inputs") from error
    images = _pixels(tensor, list(shape)[-3:], numpy_type(info.datatype))
    if not images:
        raise InvalidRequestError(f"input {name!r} has no images", "inputs")
    pixels = np.stack(images)
    lengths = (len(images), *([1] * (rank - 4)), *pixels.shape[1:])
    return Tensor(name, info.datatype, lengths, pixels.tobytes())


def _pixels(tensor: Tensor, lengths: Sequence[Dimension], dtype: Any) -> list[Any]:
    """The images, all of one size."""
    height, width, channels = lengths
    num_bytes = 0
    images: list[Any] = []
    for number, element in enumerate(tensor.elements()):
        where = f"image {number} of input {tensor.name!r}"
        image = _decode(element, where)
        _check_channels(image, channels, where)
        image = _cast(_fit(image, height, width), dtype)
        if images and image.shape != images[0].shape:
            raise InvalidRequestError(
                f"{where} is {_size(image)}, another one {_size(images[0])}; where the model takes "
                f"any size, all images of a request must have one",
                "inputs",
            )
        num_bytes += image.nbytes
        if num_bytes > MAX_BYTES:
            raise InvalidRequestError(
                f"the images of input {tensor.name!r} take over {MAX_BYTES} bytes; send fewer",
                "inputs",
            )
        images.append(image)
    return images


def _decode(data: bytes, where: str) -> Any:
    """Pixels of [height, width, channels], blue first, as uint8."""
    try:
        from PIL import Image
    except ImportError as error:
        raise InvalidRequestError(
            "this server cannot decode images: Pillow is missing, which is in the extra [media]",
            "inputs",
        ) from error
    try:
        with Image.open(io.BytesIO(_without_base64(data)), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InvalidRequestError(
                    f"{where} has {image.width} x {image.height} pixels; at most {MAX_PIXELS}",
                    "inputs",
                )
            if image.mode.startswith(("I", "F")):
                raise InvalidRequestError(
                    f"{where} has values of more than 8 bits; possible: 8 bits", "inputs"
                )
            has_alpha = image.mode == "P" and "transparency" in image.info
            mode = "RGBA" if has_alpha else MODES.get(image.mode, "RGB")
            pixels = np.asarray(image.convert(mode))
    except InvalidRequestError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken file makes them raise
        raise InvalidRequestError(
            f"{where} cannot be decoded; possible: {', '.join(FORMATS)}", "inputs"
        ) from error
    if pixels.ndim == 2:
        return pixels[:, :, None]
    return pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]


def _without_base64(data: bytes) -> bytes:
    """What a text of base64 stands for. JSON cannot hold an image itself, and no image is ASCII."""
    if not data.isascii():
        return data
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        return data


def _check_channels(image: Any, channels: Dimension, where: str) -> None:
    if not channels.compatible(ov.Dimension(image.shape[2])):
        raise InvalidRequestError(
            f"{where} has {image.shape[2]} channels; the model takes {channels} in its last "
            f'dimension. Where its channels come first, the option layout can be "NHWC:NCHW"',
            "inputs",
        )


def _fit(image: Any, height: Dimension, width: Dimension) -> Any:
    """Resize an image that is outside of the lengths which the model takes."""
    size = (_nearest(image.shape[0], height), _nearest(image.shape[1], width))
    return image if size == image.shape[:2] else _resize(image, *size)


def _nearest(length: int, possible: Dimension) -> int:
    length = max(length, int(possible.min_length))
    return length if possible.max_length < 0 else min(length, int(possible.max_length))


def _resize(image: Any, height: int, width: int) -> Any:
    """Bilinear without smoothing, with the centres of pixels in place, as OpenCV's resize."""
    for axis, length in ((0, height), (1, width)):
        image = _resize_axis(image, axis, length)
    return np.rint(image).astype(np.uint8)


def _resize_axis(image: Any, axis: int, length: int) -> Any:
    old = image.shape[axis]
    if length == old:
        return image
    places = (np.arange(length, dtype=np.float64) + 0.5) * (old / length) - 0.5
    places = np.clip(places, 0, old - 1)
    first = np.floor(places).astype(np.intp)
    second = np.minimum(first + 1, old - 1)
    lengths = [1, 1, 1]
    lengths[axis] = length
    weight = (places - first).astype(np.float32).reshape(lengths)
    return image.take(first, axis) * (1 - weight) + image.take(second, axis) * weight


def _cast(image: Any, dtype: Any) -> Any:
    return np.minimum(image, 127).astype(dtype) if dtype == np.int8 else image.astype(dtype)


def _size(image: Any) -> str:
    return f"{image.shape[0]} x {image.shape[1]} x {image.shape[2]}"
