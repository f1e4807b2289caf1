"""Rotary positions: the frequencies that config.json asks for, and those of a graph.

Formulas: transformers, modeling_rope_utils.py (ROPE_INIT_FUNCTIONS). The kinds `default`, `linear`,
`llama3`, `yarn`, `dynamic` and `longrope` are judged where config.json says its `rope_theta`, and
the graph computes sines and cosines from constant frequencies; tables of them are not judged, nor
the factors between which `rope_switch` lets a graph choose.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.model.model_info import longrope_switch
from server.engine.model.rope_switch import has_rope_choice

__all__ = ["MAX_FREQUENCIES", "MAX_NODES", "declared_ropes", "rope_difference"]

Config = Mapping[str, Any]
Doubles = npt.NDArray[np.float64]

KINDS = ("default", "linear", "llama3", "yarn", "dynamic", "longrope", "su")

MAX_NODES = 64
"""Between a cosine and the frequencies that it is computed from."""
MIN_FREQUENCIES, MAX_FREQUENCIES = 4, 1024

# The frequencies may have been rounded to f16, small ones to a multiple of 6e-8.
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-2, 1e-7


@dataclass(frozen=True, slots=True)
class Rope:
    """One kind of rotary positions that config.json describes, with all its parameters."""

    kind: str
    theta: float
    scaling: Mapping[str, Any]

    def plain(self, size: int) -> Doubles:
        """The same without scaling."""
        result: Doubles = self.theta ** -(np.arange(size) / size)
        return result

    def frequencies(self, size: int, config: Config) -> Doubles:
        """f64[size]: the angle of each pair of channels at position 1."""
        plain = self.plain(size)
        match self.kind:
            case "linear":
                return plain / float(self.scaling["factor"])
            case "llama3":
                return _llama3(plain, self.scaling)
            case "yarn":
                return _yarn(plain, self.theta, self.scaling, config)
            case "longrope" | "su":
                # A graph that does not choose serves texts that need the short ones.
                return plain / np.array(self.scaling["short_factor"], np.float64)
            case _:
                # Dynamic ones change beyond the context that config.json says.
                return plain


def rope_difference(model: ov.Model, config: Config) -> str | None:
    """How config.json and the graph differ in rotary positions; None if they agree.

    Raises LookupError, TypeError, ValueError or ArithmeticError for incomplete parameters.
    """
    if longrope_switch(config) is None and has_rope_choice(model):
        return (
            "rotary positions: config.json does not say longrope, the graph chooses between short "
            "and long factors by the longest text of a step"
        )
    found, scalars = _constants(model)
    for rope in declared_ropes(config) if found else ():
        if not any(_is_equal(rope, one, scalars, config) for one in found):
            expected = rope.frequencies(len(found[0]), config)
            channel = int(np.argmax(np.abs(np.log(expected / np.maximum(found[0], 1e-30)))))
            return (
                f"rotary positions: config.json says kind {rope.kind!r} with rope_theta "
                f"{rope.theta:g}, and so the frequency {expected[channel]:.3g} for the channels "
                f"{channel}, the graph has {found[0][channel]:.3g}"
            )
    return None


def declared_ropes(config: Config) -> list[Rope]:
    """All that config.json describes; none where it does not say enough to judge."""
    parameters = config.get("rope_parameters") or {}
    if any(isinstance(value, dict) for value in parameters.values()):
        # transformers 5 writes one for each kind of layer.
        parts = [value for value in parameters.values() if isinstance(value, dict)]
    else:
        parts = [{**parameters, **(config.get("rope_scaling") or {})}]
    return [rope for part in parts if (rope := _rope(part, config)) is not None]


def _rope(part: Mapping[str, Any], config: Config) -> Rope | None:
    theta = config.get("rope_theta", part.get("rope_theta"))
    kind = part.get("rope_type", part.get("type", "default"))
    if theta is None or kind not in KINDS:
        return None
    return Rope(kind, float(theta), part)


def _llama3(plain: Doubles, scaling: Mapping[str, Any]) -> Doubles:
    factor = float(scaling["factor"])
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    length = float(scaling["original_max_position_embeddings"])
    num_turns = length * plain / (2 * math.pi)
    share = np.clip((num_turns - low) / (high - low), 0, 1)
    return (1 - share) * plain / factor + share * plain


def _yarn(plain: Doubles, theta: float, scaling: Mapping[str, Any], config: Config) -> Doubles:
    factor = float(scaling["factor"])
    length = scaling.get("original_max_position_embeddings") or config["max_position_embeddings"]
    size = len(plain)

    def channel(num_turns: float) -> float:
        """The channel that turns so many times over the length."""
        return size * math.log(length / (num_turns * 2 * math.pi)) / math.log(theta)

    low = channel(float(scaling.get("beta_fast") or 32))
    high = channel(float(scaling.get("beta_slow") or 1))
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * size - 1)
    share = np.clip((np.arange(size) - low) / (high - low or 0.001), 0, 1)
    result: Doubles = share * plain / factor + (1 - share) * plain
    return result


def _constants(model: ov.Model) -> tuple[list[Doubles], list[float]]:
    """The frequencies that cosines of a graph are computed from, and the single numbers."""
    arrays, scalars = [], []
    known: set[str] = set()
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Cos":
            for value in _constant_sources(node, known):
                if value.size == 1:
                    scalars.append(float(value[0]))
                elif _are_frequencies(value):
                    arrays.append(value)
    return arrays, scalars


def _constant_sources(node: ov.Node, known: set[str]) -> Iterator[Doubles]:
    waiting = [node]
    for _ in range(MAX_NODES):
        if not waiting:
            return
        for port in waiting.pop().input_values():
            source = port.get_node()
            if source.get_name() in known:
                continue
            known.add(source.get_name())
            if source.get_type_name() != "Constant":
                waiting.append(source)
            elif source.get_element_type().is_real() and _num_elements(source) <= MAX_FREQUENCIES:
                yield source.get_data(dtype=np.float64).ravel()


def _num_elements(constant: ov.Node) -> int:
    return math.prod(constant.get_output_shape(0))


def _are_frequencies(value: Doubles) -> bool:
    return bool(
        value.size >= MIN_FREQUENCIES
        and value[0] <= 1.0 + RELATIVE_TOLERANCE
        and value[-1] >= 0.0
        and (np.diff(value) <= 0).all()
        and value[0] > value[-1]
    )


def _is_equal(rope: Rope, found: Doubles, scalars: list[float], config: Config) -> bool:
    if _is_close(rope.frequencies(len(found), config), found):
        return True
    if rope.kind != "linear":
        return False
    # Older modeling code divides positions, not frequencies.
    factor = float(rope.scaling["factor"])
    has_factor = np.isclose(scalars, factor).any() or np.isclose(scalars, 1 / factor).any()
    return bool(has_factor) and _is_close(rope.plain(len(found)), found)


def _is_close(one: Doubles, other: Doubles) -> bool:
    return bool(np.allclose(one, other, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE))
