"""Requests for images, as OpenAI and Model Server have them -> the packet of a graph; its answer.

Fields that are not known are refused, as Model Server does, and named in its words.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from server.errors import InvalidRequestError, describe_value, did_you_mean
from server.payloads import ImageRequest, ImageResponse, ImageSize
from server.protocol.json_text import json_bytes
from server.protocol.multipart_form import MultipartForm

__all__ = [
    "EDIT_SCHEMA",
    "GENERATION_SCHEMA",
    "ImageAnswer",
    "make_request",
    "parse_edit",
    "parse_generation",
    "render_images",
]

MAX_INT = 2**63 - 1
TEXTS = (
    "model",
    "prompt",
    "prompt_2",
    "prompt_3",
    "negative_prompt",
    "negative_prompt_2",
    "negative_prompt_3",
    "size",
    "response_format",
)
# With the least value of each.
INTEGERS = {
    "n": 1,
    "num_images_per_prompt": 1,
    "width": 1,
    "height": 1,
    "num_inference_steps": 1,
    "max_sequence_length": 1,
    "rng_seed": 0,
}
FLOATS = ("guidance_scale", "strength")
ALPHAS = "lora_alphas"
FIELDS = (*TEXTS, *INTEGERS, *FLOATS, ALPHAS)
# Model Server takes an image here and does not use it.
UNUSED = ("image",)
FILES = ("image", "mask")
NAME_IN_ERRORS = {
    "n": "num_images_per_prompt/n",
    "num_images_per_prompt": "num_images_per_prompt/n",
}
REQUIRED = ("model", "prompt")
# OpenAI's schema lets them be null; Model Server refuses null everywhere.
NULLABLE = ("n", "size", "response_format")
INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)
MAX_SHOWN = 100
MAX_FLOAT = 1e6


class ImageObject(BaseModel):
    """A PNG file in base64."""

    b64_json: str


class ImageAnswer(BaseModel):
    """OpenAI's answer with images. `created` is when they were made, in seconds since 1970."""

    created: int
    data: list[ImageObject]


def _schema(files: Sequence[str], unused: Sequence[str]) -> Mapping[str, Any]:
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    properties: dict[str, Any] = {name: {"type": "string"} for name in TEXTS}
    properties |= {name: {"type": "integer", "minimum": low} for name, low in INTEGERS.items()}
    properties |= {name: {"type": "number"} for name in FLOATS}
    properties["strength"] |= {"minimum": 0, "maximum": 1}
    properties["response_format"]["enum"] = ["b64_json"]
    properties[ALPHAS] = {"type": "object", "additionalProperties": {"type": "number"}}
    properties |= dict.fromkeys(files, file) | {name: {} for name in unused}
    return {
        "type": "object",
        "properties": properties,
        "required": [*REQUIRED, *(["image"] if files else [])],
        "additionalProperties": False,
    }


GENERATION_SCHEMA = _schema((), UNUSED)
EDIT_SCHEMA = _schema(FILES, ())


def parse_generation(fields: Mapping[str, Any]) -> ImageRequest:
    """The request in a JSON object. Raises InvalidRequestError."""
    _check_names(fields, (*FIELDS, *UNUSED))
    values = {
        n: v for n, v in fields.items() if n not in UNUSED and not (v is None and n in NULLABLE)
    }
    if "prompt" not in values:
        raise InvalidRequestError("prompt field is missing in JSON body", "prompt")
    return make_request(values)


def parse_edit(form: MultipartForm) -> ImageRequest:
    """The request in a form. Raises InvalidRequestError.

    OpenAI's clients name a single image `image`, and one in a list `image[]`.
    """
    names = {name.removesuffix("[]") if name == "image[]" else name for name in form.files}
    _check_names({**form.texts, **dict.fromkeys(names)}, (*FIELDS, *FILES))
    values = {name: _from_text(name, str(text)) for name, text in form.fields().items()}
    if "prompt" not in values:
        raise InvalidRequestError("prompt field is missing in multipart body", "prompt")
    images = [*form.files.get("image", ()), *form.files.get("image[]", ())]
    if len(images) > 1:
        raise InvalidRequestError(
            f"image: only one image can be edited, found {len(images)}", "image"
        )
    if not images or not images[0].content:
        raise InvalidRequestError(
            "Image field is missing in multipart body: image must be a file", "image"
        )
    mask = form.only_file("mask").content if "mask" in {*form.files, *form.texts} else b""
    return make_request(values, image=images[0].content, mask=mask or None)


def render_images(response: ImageResponse, created: int) -> bytes:
    """The answer as JSON."""
    data = [{"b64_json": base64.b64encode(image).decode()} for image in response.images]
    return json_bytes({"created": created, "data": data})


def make_request(values: Mapping[str, Any], **files: Any) -> ImageRequest:
    """The request of these fields and files. Raises InvalidRequestError for unusable values."""
    _check_names(values, FIELDS)
    checked = {name: _CHECKS[name](name, value) for name, value in values.items()}
    if "model" not in checked:
        raise InvalidRequestError("model is missing", "model")
    found = checked.pop("response_format", "b64_json")
    if found != "b64_json":
        raise InvalidRequestError(
            f"Unsupported response_format: {found[:MAX_SHOWN]}. Only b64_json is supported.",
            "response_format",
        )
    _set_size(checked)
    if "n" in checked:
        _refuse_both("n", "num_images_per_prompt", checked)
        checked["num_images_per_prompt"] = checked.pop("n")
    return ImageRequest(**checked, **files)


def _set_size(values: dict[str, Any]) -> None:
    size = values.pop("size", "auto")
    if size == "auto":
        return
    for name in ("width", "height"):
        _refuse_both("size", name, {**values, "size": size})
    try:
        values["width"], values["height"] = ImageSize.parse(size)
    except ValueError as error:
        found = describe_value(size)
        raise InvalidRequestError(f"size field {error}, found {found}", "size") from error


def _refuse_both(first: str, second: str, values: Mapping[str, Any]) -> None:
    if first in values and second in values:
        raise InvalidRequestError(f"{first} and {second} are both there; give one of them", second)


def _check_names(fields: Mapping[str, Any], possible: Sequence[str]) -> None:
    for name in fields:
        if name not in possible:
            hint = did_you_mean(name, possible)
            raise InvalidRequestError(
                f"Unhandled parameter: {name[:MAX_SHOWN]}{hint}", name[:MAX_SHOWN]
            )


def _from_text(name: str, text: str) -> object:
    """The value of a field of a form; a text that is none is left for the check to refuse."""
    if name in INTEGERS and INTEGER.fullmatch(text):
        return int(text)
    if name in FLOATS and FLOAT.fullmatch(text):
        return float(text)
    if name == ALPHAS:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidRequestError(f"{ALPHAS} is not valid JSON: {error}", ALPHAS) from error
    return text


def _check_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong_type(name, "a string", value)
    return value


def _check_integer(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(name, "an integer", value)
    shown = NAME_IN_ERRORS.get(name, name)
    if value < INTEGERS[name]:
        least = "must be higher than 0" if INTEGERS[name] else "must be at least 0"
        raise InvalidRequestError(f"{shown} {least}, found {value}", name)
    if value > MAX_INT:
        raise InvalidRequestError(f"{shown} must be at most {MAX_INT}", name)
    return value


def _check_float(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong_type(name, "a float", value)
    if not abs(value) <= MAX_FLOAT:
        raise InvalidRequestError(f"{name} must be from -{MAX_FLOAT:g} to {MAX_FLOAT:g}", name)
    if name == "strength" and value > 1:
        raise InvalidRequestError(f"strength is greater than maxStrength: 1, found {value}", name)
    if name == "strength" and value < 0:
        raise InvalidRequestError(f"strength is less than minStrength: 0, found {value}", name)
    return float(value)


def _check_alphas(name: str, value: object) -> Mapping[str, float]:
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{name} must be an object, found {describe_value(value)}", name)
    for alias, alpha in value.items():
        if not isinstance(alpha, int | float) or isinstance(alpha, bool):
            found = f"{name}: the weight of {alias[:MAX_SHOWN]!r} must be a number"
            raise InvalidRequestError(f"{found}, found {describe_value(alpha)}", name)
        if not abs(alpha) <= MAX_FLOAT:
            found = f"{name}: the weight of {alias[:MAX_SHOWN]!r} must be from -{MAX_FLOAT:g}"
            raise InvalidRequestError(f"{found} to {MAX_FLOAT}", name)
    return {alias: float(alpha) for alias, alpha in value.items()}


def _wrong_type(name: str, expected: str, value: object) -> InvalidRequestError:
    found = describe_value(value)
    return InvalidRequestError(f"{name} field is not {expected}, found {found}", name)


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(TEXTS, _check_text),
    **dict.fromkeys(INTEGERS, _check_integer),
    **dict.fromkeys(FLOATS, _check_float),
    ALPHAS: _check_alphas,
}
