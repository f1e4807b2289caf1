"""Tiny models, one for each kind of architecture: what transformers makes at random."""

from model_zoo.kinds.dense import DENSE
from model_zoo.kinds.encoder_decoder import ENCODER_DECODER
from model_zoo.kinds.experts import EXPERTS
from model_zoo.kinds.rope import ROPE
from model_zoo.kinds.sizes import Kind
from model_zoo.kinds.state import OTHERS, STATE

__all__ = ["KINDS"]

_FAMILIES = (DENSE, ROPE, EXPERTS, STATE, OTHERS, ENCODER_DECODER)

KINDS: dict[str, Kind] = dict(sorted(kind for family in _FAMILIES for kind in family.items()))
