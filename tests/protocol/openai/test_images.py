"""Requests for images: what OpenVINO Model Server takes, and what it refuses in which words."""

import json
from typing import Any

import pytest

from server.errors import InvalidRequestError
from server.payloads import ImageRequest
from server.protocol.multipart_form import MultipartForm, UploadedFile
from server.protocol.openai.images import parse_edit, parse_generation

REQUIRED = {"model": "m", "prompt": "a cat"}
ALL = {
    "prompt_2": "two",
    "prompt_3": "three",
    "negative_prompt": "no",
    "negative_prompt_2": "no two",
    "negative_prompt_3": "no three",
    "rng_seed": 123456789,
    "guidance_scale": 7.5,
    "width": 512,
    "height": 1024,
    "num_images_per_prompt": 4,
    "num_inference_steps": 7,
    "max_sequence_length": 256,
    "strength": 0.75,
    "lora_alphas": {"x": 0.5, "y": -1},
}


def form(fields: dict[str, Any], **files: bytes) -> MultipartForm:
    texts = {n: [v if isinstance(v, str) else json.dumps(v)] for n, v in fields.items()}
    return MultipartForm(texts, {n: [UploadedFile("f", "image/png", c)] for n, c in files.items()})


def test_every_field_of_model_server() -> None:
    expected = ImageRequest(**REQUIRED, **ALL)
    assert parse_generation({**REQUIRED, **ALL, "response_format": "b64_json"}) == expected
    found = parse_edit(form({**REQUIRED, **ALL}, image=b"i", mask=b"m"))
    assert found == ImageRequest(**REQUIRED, **ALL, image=b"i", mask=b"m")


def test_every_field_of_openai() -> None:
    fields = {**REQUIRED, "n": 4, "size": "512x513", "response_format": "b64_json"}
    found = parse_generation({**fields, "image": "not used"})
    assert (found.width, found.height, found.num_images_per_prompt) == (512, 513, 4)
    assert parse_generation({**REQUIRED, "n": None, "size": "auto"}) == ImageRequest(**REQUIRED)


def test_the_image_of_a_form_may_be_in_a_list() -> None:
    assert parse_edit(form(REQUIRED, **{"image[]": b"i"})).image == b"i"


def test_an_empty_text_of_a_form_is_not_set() -> None:
    assert parse_edit(form({**REQUIRED, "size": "", "n": ""}, image=b"i")).width is None


@pytest.mark.parametrize(
    "name",
    ["background", "moderation", "output_compression", "output_format", "quality", "style", "user"],
)
def test_fields_that_model_server_refuses(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^Unhandled parameter: {name}"):
        parse_generation({**REQUIRED, name: "x"})
    with pytest.raises(InvalidRequestError, match=f"^Unhandled parameter: {name}"):
        parse_edit(form({**REQUIRED, name: "x"}, image=b"i"))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"prompt": 123}, "prompt field is not a string, found the number 123"),
        ({"prompt": None}, "prompt field is not a string, found null"),
        ({"model": None}, "model field is not a string"),
        ({"rng_seed": None}, "rng_seed field is not an integer, found null"),
        ({"strength": None}, "strength field is not a float, found null"),
        ({"negative_prompt": None}, "negative_prompt field is not a string, found null"),
        ({"mask": "x"}, "Unhandled parameter: mask"),
        ({"nonexistent": 5}, "Unhandled parameter: nonexistent"),
        ({"n": 0}, "num_images_per_prompt/n must be higher than 0"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt/n must be higher than 0"),
        ({"n": 4, "num_images_per_prompt": 4}, "n and num_images_per_prompt are both there"),
        ({"n": 4.5}, "n field is not an integer, found the number 4.5"),
        ({"n": True}, "n field is not an integer, found true"),
        ({"width": 0}, "width must be higher than 0"),
        ({"height": -8}, "height must be higher than 0"),
        ({"width": "512"}, "width field is not an integer, found the string '512'"),
        ({"width": 2**70}, "width must be at most"),
        ({"rng_seed": -1}, "rng_seed must be at least 0"),
        ({"num_inference_steps": 0}, "num_inference_steps must be higher than 0"),
        ({"size": "8x8", "width": 8}, "size and width are both there"),
        ({"size": "8x8", "height": 8}, "size and height are both there"),
        ({"size": 8}, "size field is not a string"),
        ({"strength": 1.5}, "strength is greater than maxStrength: 1"),
        ({"strength": -0.5}, "strength is less than minStrength: 0"),
        ({"guidance_scale": "x"}, "guidance_scale field is not a float"),
        ({"guidance_scale": 10**400}, "guidance_scale must be from"),
        ({"response_format": "url"}, "Unsupported response_format: url. Only b64_json is supp"),
        ({"lora_alphas": "x"}, "lora_alphas must be an object, found the string 'x'"),
        ({"lora_alphas": {"x": "high"}}, "the weight of 'x' must be a number, found the string"),
        ({"lora_alphas": {"x": True}}, "the weight of 'x' must be a number, found true"),
    ],
)
def test_values_that_are_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        parse_generation({**REQUIRED, **fields})


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ("51:512", "size field is not in correct format - WxH"),
        ("512_51x", "size field is not in correct format - WxH"),
        ("51x512x", "size field is not in correct format - WxH"),
        ("abcx512", "size field is not in correct format - WxH"),
        ("9223372036854775808x1", "size field is not in correct format - WxH"),
        ("", "size field is not in correct format - WxH"),
        ("-51x52", "size field values must be greater than 0"),
        ("0x52", "size field values must be greater than 0"),
    ],
)
def test_sizes_that_are_refused(size: str, problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        parse_generation({**REQUIRED, "size": size})


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"n": "    123 "}, "n field is not an integer"),
        ({"n": "123.5"}, "n field is not an integer"),
        ({"n": "1" * 400}, "n field is not an integer"),
        ({"strength": "nan"}, "strength field is not a float"),
        ({"strength": "3.4e39"}, "strength must be from"),
        ({"strength": "much"}, "strength field is not a float"),
        ({"strength": " 0.5 "}, "strength field is not a float"),
        ({"strength": "0_1.0"}, "strength field is not a float"),
        ({"lora_alphas": "{not valid json"}, "lora_alphas is not valid JSON"),
        ({"lora_alphas": "[1, 2, 3]"}, "lora_alphas must be an object"),
        ({"nonexistent_field": "1"}, "Unhandled parameter: nonexistent_field"),
        ({"image": "a text"}, "Image field is missing in multipart body"),
    ],
)
def test_values_of_a_form_that_are_refused(fields: dict[str, Any], problem: str) -> None:
    files = {} if "image" in fields else {"image": b"i"}
    with pytest.raises(InvalidRequestError, match=problem):
        parse_edit(form({**REQUIRED, **fields}, **files))


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InvalidRequestError, match="prompt field is missing in JSON body"):
        parse_generation({"model": "m"})
    with pytest.raises(InvalidRequestError, match="model is missing"):
        parse_generation({"prompt": "a cat"})
    with pytest.raises(InvalidRequestError, match="prompt field is missing in multipart body"):
        parse_edit(form({"model": "m"}, image=b"i"))
    with pytest.raises(InvalidRequestError, match="Image field is missing in multipart body"):
        parse_edit(form(REQUIRED))


def test_only_one_image_can_be_edited() -> None:
    files = {"image[]": [UploadedFile("f", "image/png", b"i")] * 2}
    with pytest.raises(InvalidRequestError, match="only one image can be edited, found 2"):
        parse_edit(MultipartForm({n: [v] for n, v in REQUIRED.items()}, files))
