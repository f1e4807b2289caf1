"""Parses Model Server's options shape, batch_size and layout.

A shape is `(1,3,200:300,-1)`, where -1 is any length and `200:300` a range, or `auto` for any
shape. A layout is `NCHW`, or `NHWC:NCHW`: what clients send, then what the model takes. Each option
is one text for a model with one input, or a JSON object with a text for each tensor.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ANY", "Layout", "Range", "Shape", "parse_batch_size", "parse_layouts", "parse_shapes"]

Range = tuple[int, int]
"""Smallest and largest length of a dimension; -1 as the largest is no limit."""

Shape = tuple[Range, ...]

AUTO = "auto"
ANY: Range = (0, -1)
MAX_LENGTH = 2**31 - 1

_LAYOUT = re.compile(r"[A-Za-z?.]+")


@dataclass(frozen=True, slots=True)
class Layout:
    """The order of the dimensions of one tensor."""

    of_clients: str
    of_model: str


def parse_shapes(text: str) -> Mapping[str, Shape | None]:
    """Shapes by the name of the input, "" for the only one; None is any shape of its rank."""
    return {name: _parse_shape(shape) for name, shape in _by_name("shape", text).items()}


def parse_batch_size(text: str) -> Range | None:
    """Length of the batch dimension, None where the option is not set."""
    if text in ("", "0"):
        return None
    return ANY if text == AUTO else _parse_dimension("batch_size", text)


def parse_layouts(text: str) -> Mapping[str, Layout]:
    """Layouts by the name of the tensor, "" for the only input."""
    return {name: _parse_layout(layout) for name, layout in _by_name("layout", text).items()}


def _by_name(option: str, text: str) -> Mapping[str, str]:
    if not text.lstrip().startswith("{"):
        return {"": text} if text else {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{option} is not JSON: {error}; found {text[:200]!r}") from error
    for name, value in found.items():
        if not (name and isinstance(value, str)):
            raise ValueError(f"{option} has {name!r}: {value!r}; it must be a name with a text")
    return dict(found)


def _parse_shape(text: str) -> Shape | None:
    stripped = text.strip()
    if stripped == AUTO:
        return None
    if stripped[:1] + stripped[-1:] in ("()", "[]"):
        stripped = stripped[1:-1]
    if not stripped.strip():
        return ()
    return tuple(_parse_dimension("shape", part) for part in stripped.split(","))


def _parse_dimension(option: str, text: str) -> Range:
    if text.strip() == "-1":
        return ANY
    low, colon, high = text.partition(":")
    try:
        found = int(low), int(high if colon else low)
    except ValueError:
        found = (-1, -1)
    if not 1 <= found[0] <= found[1] <= MAX_LENGTH:
        possible = "a number from 1, -1 for any, or a range like 1:4"
        raise ValueError(f"{option} has the length {text.strip()!r}; possible: {possible}")
    return found


def _parse_layout(text: str) -> Layout:
    of_clients, colon, of_model = text.replace(" ", "").partition(":")
    layout = Layout(of_clients, of_model if colon else of_clients)
    if not (_LAYOUT.fullmatch(layout.of_clients) and _LAYOUT.fullmatch(layout.of_model)):
        raise ValueError(f"layout has {text!r}; possible: a layout like NCHW, or NHWC:NCHW")
    return layout
