"""How many sequences a model with states can run at once, and how long they can be."""

from dataclasses import dataclass

from server.engine.config import EngineConfig
from server.engine.model.cache.cache_sizing import cache_bytes
from server.engine.model.device import Device
from server.engine.model.stateful.state_form import StateForm
from server.errors import ModelLoadError

__all__ = ["StateRoom", "state_room"]

LONGEST_TEXT, LONGEST_GROWING_TEXT = 2**17, 2**12
"""The length of a sequence where the model states no limit: with states of a fixed size, or not."""

LEAST_SEQUENCES = 4
"""Texts become shorter where memory does not suffice for so many of full length."""


@dataclass(frozen=True, slots=True)
class StateRoom:
    """Room for the states of `num_sequences` sequences of at most `num_tokens` tokens."""

    num_sequences: int
    num_tokens: int
    num_bytes: int


def state_room(
    config: EngineConfig, form: StateForm, device: Device, max_model_len: int | None
) -> StateRoom:
    """The room that the settings and the free memory give.

    Raises ModelLoadError where less memory is free than was asked for, or too little for one text.
    """
    longest = max_model_len or (LONGEST_GROWING_TEXT if form.bytes_per_token else LONGEST_TEXT)
    if config.num_kv_blocks:
        num = config.num_kv_blocks
        return StateRoom(num, longest, num * _bytes_of(form, longest))
    available = cache_bytes(config, device)
    if form.bytes_per_token:
        of_one = available // LEAST_SEQUENCES - form.fixed_bytes
        longest = min(longest, of_one // form.bytes_per_token)
    num = min(config.max_num_seqs, available // max(1, _bytes_of(form, longest)))
    if longest < 1 or num < 1:
        raise ModelLoadError(
            f"{available} bytes of memory are free for the states of this model; one sequence of "
            f"one token takes {_bytes_of(form, 1)}; free some memory, or serve a smaller model"
        )
    return StateRoom(num, longest, num * _bytes_of(form, longest))


def _bytes_of(form: StateForm, num_tokens: int) -> int:
    return form.fixed_bytes + num_tokens * form.bytes_per_token
