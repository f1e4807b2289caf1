"""What kind of states a stateful IR has, and how it must be fed."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.model.model_info import longrope_switch
from server.errors import ModelLoadError

__all__ = ["StateForm", "read_state_form"]

Ints = npt.NDArray[np.int64]

INPUTS = (
    "input_ids",
    "attention_mask",
    "position_ids",
    "cache_position",
    "beam_idx",
)
ENCODER_INPUTS = ("encoder_hidden_states", "encoder_attention_mask")

BYTES_PER_ELEMENT = 8
"""Four of an f32 number, twice: the CPU plugin keeps the old state while it makes the new one."""

AFTER_PROMPT = 2**20
"""Beyond the positions at which a convolution takes its input for the beginning of a prompt."""


@dataclass(frozen=True, slots=True)
class StateForm:
    """The states of one sequence, and the inputs that a step of it has.

    `fixed_bytes` are those of states with a fixed size, as state-space models have them;
    `bytes_per_token` those of keys and values, which grow. Both are upper bounds.
    `masks_new_tokens_only` says that the attention mask covers the new tokens alone, not those
    before them. `first_tokens` is the least number of tokens that a sequence with long rope factors
    begins with; 0 for a model without such factors.
    """

    inputs: frozenset[str]
    fixed_bytes: int
    bytes_per_token: int
    masks_new_tokens_only: bool
    first_tokens: int

    @property
    def takes_single_tokens(self) -> bool:
        """Whether a text must be read token by token.

        Exported graphs of models with fixed states compute chunks by other formulas than single
        tokens. These forget the state before the chunk, or lose digits in it: a cumulative product
        of decays underflows after some dozen tokens. Single tokens are exact.
        """
        return self.fixed_bytes > 0

    def arrays(
        self, tokens: Ints, num_past: int, encoded: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, npt.NDArray[Any]]:
        """The inputs for new tokens after `num_past` others; `encoded` are those of an encoder."""
        positions = np.arange(num_past, num_past + len(tokens), dtype=np.int64)
        num_masked = len(tokens) + (0 if self.masks_new_tokens_only else num_past)
        arrays: dict[str, npt.NDArray[Any]] = {
            "input_ids": tokens[None],
            "attention_mask": np.ones((1, num_masked), np.int64),
            "position_ids": positions[None],
            "cache_position": positions + (AFTER_PROMPT if self.takes_single_tokens else 0),
            "beam_idx": np.zeros(1, np.int32),
            **encoded,
        }
        return {name: array for name, array in arrays.items() if name in self.inputs}


def read_state_form(
    model: ov.Model, config: Mapping[str, Any], has_encoder: bool = False
) -> StateForm:
    """The form of a stateful IR with this config.json; of a decoder, if there is an encoder.

    Raises ModelLoadError for one that text generation cannot run.
    """
    names = {port.get_any_name() for port in model.inputs}
    shapes = [sink.input_value(0).get_partial_shape() for sink in model.get_sinks()]
    if not shapes or "input_ids" not in names:
        raise ModelLoadError("not a stateful language model: it has no states or no input_ids")
    known = (*INPUTS, *ENCODER_INPUTS) if has_encoder else INPUTS
    unknown = sorted(names - set(known))
    if unknown:
        raise ModelLoadError(
            f"needs the inputs {', '.join(unknown)}, which text generation does not provide; known "
            f"are {', '.join(known)}"
        )
    long_after = longrope_switch(config)
    growing = [shape for shape in shapes if _num_dynamic(shape) > 1]
    fixed = [shape for shape in shapes if _num_dynamic(shape) <= 1]
    return StateForm(
        inputs=frozenset(names),
        fixed_bytes=sum(map(_num_bytes, fixed)),
        # A token is in the states of the prompt or in those of the answer.
        bytes_per_token=sum(map(_num_bytes, growing)) // (2 if has_encoder else 1),
        # optimum-intel, OVModelWithMambaForCausalLM.prepare_inputs_for_generation
        masks_new_tokens_only=not growing or config.get("model_type") == "zamba2",
        first_tokens=0 if long_after is None else long_after + 1,
    )


def _num_dynamic(shape: ov.PartialShape) -> int:
    return sum(dim.is_dynamic for dim in shape)


def _num_bytes(shape: ov.PartialShape) -> int:
    """Of a state with one sequence, for one token where it grows."""
    return BYTES_PER_ELEMENT * prod(int(dim.get_length()) for dim in shape if dim.is_static)
