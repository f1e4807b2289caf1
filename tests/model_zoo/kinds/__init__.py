"""Tiny models, one for each kind of architecture: what transformers makes at random."""

from model_zoo.kinds.dense import DENSE
from model_zoo.kinds.experts import EXPERTS
from model_zoo.kinds.rope import ROPE
from model_zoo.kinds.sizes import Kind
from model_zoo.kinds.state import OTHERS, STATE

__all__ = ["KINDS"]

KINDS: dict[str, Kind] = dict(sorted({**DENSE, **ROPE, **EXPERTS, **STATE, **OTHERS}.items()))
