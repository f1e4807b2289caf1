"""Uploaded files of every kind, whole and broken."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from calculators.media.image_files import decode_image, decode_mask, encode_png, read_size
from server.errors import InvalidRequestError
from server.payloads import ImageSize

PIXELS = np.random.default_rng(0).integers(0, 255, (6, 4, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def file_of(image: Image.Image, form: str = "PNG", **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "settings"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("PPM", {}), ("TGA", {})],
)
def test_formats_without_loss(form: str, settings: Any) -> None:
    file = file_of(PICTURE, form, **settings)
    assert np.array_equal(decode_image(file, "image"), PIXELS)
    assert read_size(file, "image") == ImageSize(4, 6)


def test_jpeg() -> None:
    flat = Image.new("RGB", (16, 16), (200, 100, 50))
    found = decode_image(file_of(flat, "JPEG", quality=95), "image")
    assert np.abs(found.astype(int) - [200, 100, 50]).max() < 5


def test_the_first_picture_of_a_gif_is_taken() -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    file = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode_image(file, "image")[0, 0], [255, 0, 0])


def test_transparency_is_dropped() -> None:
    image = PICTURE.copy()
    image.putalpha(Image.new("L", image.size, 0))
    assert np.array_equal(decode_image(file_of(image), "image"), PIXELS)


def test_palettes() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    found = decode_image(file_of(image, transparency=0), "image")
    assert np.array_equal(found, [[[10, 20, 30], [40, 50, 60]]])


def test_grey_images() -> None:
    grey = Image.fromarray(PIXELS[:, :, 0])
    found = decode_image(file_of(grey), "image")
    assert np.array_equal(found, np.repeat(PIXELS[:, :, :1], 3, axis=2))
    assert decode_image(file_of(grey.convert("1")), "image").shape == (6, 4, 3)


def test_grey_images_of_16_bits_keep_their_brightness() -> None:
    deep = Image.fromarray(PIXELS[:, :, 0].astype(np.uint16) * 257)
    found = decode_image(file_of(deep), "image")
    assert np.array_equal(found, np.repeat(PIXELS[:, :, :1], 3, axis=2))


def test_exif_turns_an_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = file_of(PICTURE, "PNG", exif=exif)
    assert np.array_equal(decode_image(file, "image"), np.rot90(PIXELS, -1))
    assert read_size(file, "image") == ImageSize(6, 4)


def test_a_transparent_mask_marks_its_transparent_parts() -> None:
    mask = PICTURE.convert("RGBA")
    mask.putpixel((1, 2), (9, 9, 9, 0))
    found = decode_mask(file_of(mask), "mask")
    expected = np.zeros_like(PIXELS)
    expected[2, 1] = 255
    assert np.array_equal(found, expected)


def test_an_opaque_mask_marks_its_white_parts() -> None:
    assert np.array_equal(decode_mask(file_of(PICTURE), "mask"), PIXELS)
    assert np.array_equal(decode_mask(file_of(PICTURE.convert("RGBA")), "mask"), PIXELS)


def test_png_files_are_exact() -> None:
    [file] = encode_png([PIXELS])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(file))), PIXELS)


def png(width: int, height: int) -> bytes:
    """The header of a PNG that claims this size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 10)
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (png(5000, 5000), "image is 5000x5000, more than the 16777216 pixels"),
        (png(10_000, 10_000), "image (is|has)"),
        (png(60_000, 60_000), "image has too many pixels; at most 16777216"),
        (png(2**31 - 1, 2**31 - 1), "image has too many pixels"),
    ],
)
def test_an_image_that_claims_too_many_pixels_is_not_decoded(file: bytes, problem: str) -> None:
    for read in (read_size, decode_image, decode_mask):
        with pytest.raises(InvalidRequestError, match=problem):
            read(file, "image")


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"text",
        b"\x89PNG\r\n\x1a\n",
        png(0, 5),
        png(4, 6),
        file_of(PICTURE)[:-30],
        file_of(PICTURE, "JPEG")[:200],
        file_of(PICTURE, "WEBP")[:30],
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        file_of(PICTURE, "TIFF"),
    ],
)
def test_broken_files_are_refused(file: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="image: Image parsing failed"):
        decode_image(file, "image")


def test_broken_bytes_never_raise_another_error() -> None:
    random = np.random.default_rng(1)
    for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TGA"):
        whole = bytearray(file_of(PICTURE, form))
        for _ in range(150):
            broken = bytearray(whole)
            for place in random.integers(0, len(whole), 3):
                broken[place] = random.integers(0, 256)
            for read in (read_size, decode_image, decode_mask):
                try:
                    read(bytes(broken), "image")
                except InvalidRequestError:
                    continue
