"""How one layer attends, in the same form for config.json and for a graph."""

from dataclasses import dataclass, fields

import numpy as np

RELATIVE_TOLERANCE = 1e-2
"""Slopes and scales may have been rounded to 16 bits."""

NONE = {
    "window": "no sliding window",
    "chunk": "no chunked attention",
    "slopes": "no ALiBi",
    "has_sinks": "no attention sinks",
}


@dataclass(frozen=True, slots=True)
class LayerAttention:
    """None stands for what is not known.

    `window` is the number of tokens that a token sees, itself included, and `chunk` the size of the
    chunks that attention stays in; 0 is no limit. `slopes` are ALiBi's, one for each head, empty
    without ALiBi. `scale` multiplies the scores.
    """

    window: int | None = None
    chunk: int | None = None
    slopes: tuple[float, ...] | None = None
    has_sinks: bool | None = None
    scale: float | None = None

    def without_windows_from(self, context: int) -> "LayerAttention":
        """The same for texts of up to `context` tokens, which no larger window or chunk changes."""
        window, chunk = (
            0 if size is not None and size >= context else size
            for size in (self.window, self.chunk)
        )
        return LayerAttention(window, chunk, self.slopes, self.has_sinks, self.scale)


def differences(declared: LayerAttention, found: LayerAttention) -> list[str]:
    """How config.json and the graph differ; what either of them does not tell is left out."""
    return [
        f"config.json says {_describe(field.name, one)}, the graph has "
        f"{_describe(field.name, other)}"
        for field in fields(LayerAttention)
        if (one := getattr(declared, field.name)) is not None
        and (other := getattr(found, field.name)) is not None
        and not _is_equal(one, other)
    ]


def _is_equal(one: object, other: object) -> bool:
    found, expected = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return found.shape == expected.shape and np.allclose(found, expected, rtol=RELATIVE_TOLERANCE)


def _describe(name: str, value: object) -> str:
    if name == "scale":
        return f"scores multiplied by {value:.4g}"
    if not value:
        return NONE[name]
    match name, value:
        case "slopes", tuple(slopes):
            return f"ALiBi with slopes {slopes[0]:.4g} to {slopes[-1]:.4g} for {len(slopes)} heads"
        case "window", _:
            return f"a sliding window of {value} tokens"
        case "chunk", _:
            return f"attention in chunks of {value} tokens"
        case _:
            return "attention sinks"
